"""What a report of measurements holds beside the numbers, and how it is written and printed."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ldm_ae import installed
from ldm_ae.files import replacing

PACKAGES = ("torch", "torchvision", "diffusers", "lpips", "Pillow", "numpy")


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware of this process: {"commit", "versions", "hardware"}."""
    return {"commit": commit(), "versions": versions(), "hardware": hardware()}


def commit() -> str | None:
    """The package's git commit, "-dirty" if a tracked file differs; None outside its repository."""
    package_dir = Path(__file__).parent
    if _git(package_dir, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    head = _git(package_dir, "rev-parse", "HEAD")
    is_dirty = bool(_git(package_dir, "status", "--porcelain", "--untracked-files=no"))
    return f"{head}-dirty" if head and is_dirty else head


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a number depends on."""
    own = {"python": platform.python_version(), installed.DISTRIBUTION: installed.version()}
    return own | {name: version(name) for name in PACKAGES}


def hardware() -> dict[str, Any]:
    """Processor, cores, threads torch uses, and the GPU or None."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
    }


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write strict JSON (no NaN, no infinity), whole or not at all."""
    text = json.dumps(report, indent=2, allow_nan=False)
    with replacing(path) as aside:
        aside.write_text(text + "\n")


def format_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows as aligned text. columns: key -> format such as ".2f"; a missing value is "n/a"."""
    cells = _cells(rows, columns)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return "\n".join(lines)


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """As `format_table`, in Markdown."""
    head, *others = (f"| {' | '.join(row)} |" for row in _cells(rows, columns))
    return "\n".join([head, "| --- |" + " ---: |" * (len(columns) - 1), *others])


def _cells(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[list[str]]:
    cells = [list(columns)]
    for row in rows:
        values = [(row[key], spec) for key, spec in columns.items()]
        cells.append(["n/a" if value is None else format(value, spec) for value, spec in values])
    return cells


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
        )
    except OSError:  # git is not installed
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
