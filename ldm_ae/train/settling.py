"""What the settings that a run finds out for itself, `auto` in its config, have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ldm_ae import config


def saved_setting(checkpoint: Path | None, name: str) -> str | None:
    """What the run of a checkpoint settled as `train.NAME`, if it did."""
    saved = None if checkpoint is None else checkpoint.parent.parent / "config.yaml"
    if saved is None or not saved.is_file():
        return None
    value: str | None = config.read_yaml(saved).get("train", {}).get(name)
    return None if value == "auto" else value


@contextmanager
def one_thread() -> Iterator[None]:
    """Of torch, to measure with: threads that wait for each other count other people's work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
