"""What the settings that a run finds out for itself, `auto` in its config, have in common."""

from __future__ import annotations

from pathlib import Path

from ldm_ae import config


def saved_setting(checkpoint: Path | None, name: str) -> str | None:
    """What the run of a checkpoint settled as `train.NAME`, if it did."""
    saved = None if checkpoint is None else checkpoint.parent.parent / "config.yaml"
    if saved is None or not saved.is_file():
        return None
    value: str | None = config.read_yaml(saved).get("train", {}).get(name)
    return None if value == "auto" else value
