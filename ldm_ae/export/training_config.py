"""The experiment beside an export's weights, and what of it is nobody's business elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldm_ae.config import dump, read_typed_yaml
from ldm_ae.hub import PREFIX

TRAINING_CONFIG = "training_config.yaml"
_PLACES = ("path", "validation_path", "weights", "run_dir", "init_from")


def without_places(path: Path) -> str:
    """The config in a file, as YAML, with the last part alone of each path on the machine that
    trained. Raises UserError for a file that is no YAML."""
    return dump(_shortened(read_typed_yaml(path)))


def _shortened(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {
        key: Path(value).name if key in _PLACES and _is_local(value) else _shortened(value)
        for key, value in content.items()
    }


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith((PREFIX, "https://"))
