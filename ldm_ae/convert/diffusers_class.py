"""The diffusers class that computes what a model computes, and the folder that it is saved to."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

from ldm_ae.convert import asymmetric
from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.errors import UserError
from ldm_ae.installed import MissingExtraError
from ldm_ae.json_file import read_json
from ldm_ae.models.base import Autoencoder

# diffusers takes its tiles from sample_size. Tiles of a small training crop would show seams.
_MIN_SAMPLE_SIZE = 256


def as_diffusers(model: Autoencoder, scaling: LatentScaling, sample_size: int = 0) -> Any:
    """In eval mode, fp32, on the CPU. sample_size: the side of the training images; the class gets
    at least 256, and a multiple of 4f, since it cuts its tiles by it with an overlap of a quarter.

    Raises UserError for any difference in names.
    """
    try:
        import diffusers  # takes seconds, and only exports need it
    except ImportError as error:
        raise MissingExtraError('diffusers not installed: pip install "ldm-ae[train]"') from error
    step = 4 * model.downsampling_factor
    side = -(-max(sample_size, _MIN_SAMPLE_SIZE) // step) * step
    config = to_diffusers_config(model.config, scaling, side)
    settings = {key: value for key, value in config.items() if key != "_class_name"}
    exported = getattr(diffusers, config["_class_name"])(**settings)
    state = to_diffusers_state(model)
    if config["_class_name"] == asymmetric.CLASS:
        state |= asymmetric.fillers(model.config, exported.state_dict())  # type: ignore[arg-type]
    try:
        exported.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())  # it comes in several lines
        raise UserError(f"refused to export: {reason}") from error
    return exported.eval()


def save(exported: Any, folder: Path) -> None:
    """Its config and weights, less what diffusers notes about this machine, such as where the
    model came from."""
    exported.save_pretrained(folder, safe_serialization=True, max_shard_size="100GB")
    path = folder / "config.json"
    # Some classes also note what they do not take, and warn of it when they read it.
    known = {"_class_name", "_diffusers_version", *signature(type(exported).__init__).parameters}
    content = {key: value for key, value in read_json(path).items() if key in known}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
