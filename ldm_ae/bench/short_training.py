"""A training as a user starts one, once: a script that is started again finds its export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ldm_ae.errors import UserError


def trained(name: str, config: str, run_dir: Path, overrides: Sequence[str]) -> Path:
    """The export below `run_dir`: of a training that was finished before, or is resumed, or starts.

    Raises UserError, with the training's name, if it fails.
    """
    export = run_dir / "export"
    if export.is_dir():
        return export
    command = [sys.executable, "-m", "ldm_ae", "train", "--config", config, "--resume", "auto"]
    if subprocess.run([*command, f"train.run_dir={run_dir}", *overrides]).returncode:
        raise UserError(f"the training {name!r} failed")
    return export
