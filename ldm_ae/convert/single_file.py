"""An autoencoder in one file: LDM's, taming's and sgm's checkpoints, a bare VAE as ComfyUI and
kohya's scripts keep it, and the first stage of a whole Stable Diffusion."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ldm_ae.convert import ldm_yaml
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.ldm_names import from_ldm, to_ldm
from ldm_ae.convert.shapes import config_of
from ldm_ae.convert.tensors import Shapes, Tensors, in_pickle, in_safetensors, read_state
from ldm_ae.convert.weights import current_name, current_shape
from ldm_ae.errors import UserError
from ldm_ae.models.coders import MAX_LEVELS
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLES)
_FIRST_STAGE = ("first_stage_model.", "vae.")
_TRAINING = re.compile(r"(loss|model_ema)\..*|colorize")  # what an autoencoder's training leaves
_LDM = re.compile(r"encoder\.down\.(\d{1,2})\.block\.0\.conv1\.weight")
# What the pipelines of whole models multiply latents by, told by another part of each.
_WHOLE = (
    (r"conditioner\.embedders\.1\.", LatentScaling(0.13025)),  # Stable Diffusion XL
    (r"cond_stage_model\.(transformer|model)\.", LatentScaling(0.18215)),  # 1 and 2
    (r"model\.diffusion_model\.joint_blocks\.", LatentScaling(1.5305, 0.0609)),  # 3
    (r"model\.diffusion_model\.double_blocks\.", LatentScaling(0.3611, 0.1159)),  # FLUX
)


@dataclass(frozen=True)
class SingleFile:
    """config, scaling: of the model in it; None where nothing says how latents are scaled.
    is_ldm: its names are LDM's. left_out: names that only training needs."""

    config: KLConfig | DiscreteConfig
    scaling: LatentScaling | None
    is_ldm: bool
    left_out: tuple[str, ...]
    _found: Tensors
    _names: dict[str, str]

    def weights(self, expected: Shapes) -> dict[str, Tensor]:
        """By diffusers' names, fp32. Raises UserError as `read_state`."""
        levels = len(self.config.coder.channels)
        named = partial(to_ldm, num_levels=levels) if self.is_ldm else str
        return read_state(self._found, self._names, expected, named, "one another")

    def as_stored(self) -> dict[str, Tensor]:
        """By the file's own names, less what comes before `encoder`."""
        return {_bare(name): self._found.value(name) for name in self._names}


def find(path: Path) -> SingleFile:
    """Raises UserError for a file of another kind, for weights of another model, and for a YAML
    beside it that says something else than the weights."""
    if path.suffix not in ENDINGS:
        raise UserError(f"{path}: weights are read from files that end in {', '.join(ENDINGS)}")
    found = in_safetensors(path, [path]) if path.suffix == ENDINGS[0] else in_pickle(path, True)
    prefix = next((p for p in _FIRST_STAGE if any(n.startswith(p) for n in found.shapes)), "")
    stored = [name for name in found.shapes if name.startswith(prefix)]
    left_out = tuple(name for name in stored if _TRAINING.fullmatch(_bare(name)))
    own = [name for name in stored if name not in set(left_out)]
    if not prefix:  # LDM's diffusion models keep it beside theirs
        own = [name for name in own if name != "scale_factor"]
    levels = [int(match[1]) for match in map(_LDM.fullmatch, map(_bare, own)) if match]
    num_levels = min(1 + max(levels, default=0), MAX_LEVELS)
    names = {
        name: from_ldm(_bare(name), num_levels) if levels else current_name(_bare(name))
        for name in own
    }
    shapes = {name: current_shape(name, found.shapes[old]) for old, name in names.items()}
    config = config_of(path, shapes)
    scaling = _scaling(found) or _told(found.shapes if prefix else ())
    described = ldm_yaml.beside(path) if levels else None
    if described is not None:
        scaling = ldm_yaml.check(described, config) or scaling
    return SingleFile(config, scaling, bool(levels), left_out, found, names)


def _bare(name: str) -> str:
    for prefix in _FIRST_STAGE:
        name = name.removeprefix(prefix)
    return name


def _scaling(found: Tensors) -> LatentScaling | None:
    """What LDM's diffusion model measured on its first batch and keeps."""
    if found.shapes.get("scale_factor") != ():
        return None
    factor = float(found.value("scale_factor").to(torch.float64))
    return LatentScaling(factor) if 0 < factor < float("inf") else None


def _told(names: Collection[str]) -> LatentScaling | None:
    return next(
        (scaling for part, scaling in _WHOLE if any(re.match(part, name) for name in names)), None
    )
