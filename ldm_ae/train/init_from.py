"""An AutoencoderKL to start from: a folder, or a name on the hub, which only diffusers opens."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ldm_ae.convert.diffusers_config import LatentScaling, from_diffusers_config, scaling_of
from ldm_ae.convert.load import load, read_config
from ldm_ae.errors import UserError
from ldm_ae.models.settings import ModelSettings

# owner/model, and a folder inside it.
_HUB_NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:/([\w./-]+))?")


@dataclass(frozen=True)
class PretrainedConfig:
    model: ModelSettings
    scaling: LatentScaling


def read_pretrained_config(source: str) -> PretrainedConfig:
    """The settings of `source`, without its weights.

    Raises UserError for what is neither a folder nor a hub name, cannot be had, or is no
    AutoencoderKL that this package computes.
    """
    if Path(source).is_dir():
        content: Mapping[str, Any] = read_config(source)
    else:
        content = _from_hub(source, "load_config")
    model = from_diffusers_config(content)
    if model.codebook is not None:
        raise UserError(
            f"model.init_from={source} is a {content['_class_name']}: training starts from an"
            " AutoencoderKL only"
        )
    return PretrainedConfig(model, scaling_of(content))


def read_pretrained_weights(source: str) -> dict[str, Tensor]:
    """The fp32 weights of `source`, whose config `read_pretrained_config` has accepted."""
    if Path(source).is_dir():
        return load(source).state_dict()
    state: dict[str, Tensor] = _from_hub(source, "from_pretrained").float().state_dict()
    return state


def _from_hub(source: str, method: str) -> Any:
    name = _HUB_NAME.fullmatch(source)
    if name is None:
        raise UserError(
            f"model.init_from={source} is neither a folder nor a name on the hub: use the path of"
            " an export or a diffusers model, owner/model or owner/model/subfolder"
        )
    import diffusers  # takes seconds, and only hub names need it

    try:
        with warnings.catch_warnings():
            # diffusers 0.39 still passes a flag that huggingface_hub deprecated.
            warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks`")
            return getattr(diffusers.AutoencoderKL, method)(name[1], subfolder=name[2])
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"model.init_from={source} is no folder here, and the hub does not give it: {reason}"
        ) from error
