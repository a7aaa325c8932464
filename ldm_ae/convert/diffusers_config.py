"""Model configs <-> the `config.json` of diffusers' AutoencoderKL and VQModel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldm_ae.errors import UserError
from ldm_ae.models.coders import MAX_LEVELS, CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.settings import DiffusersConfig, ModelSettings, shown

_DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}
_UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}

# What diffusers takes a missing key for; early files leave most of them out.
_COMMON_DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "mid_block_add_attention": True,
}

# What a diffusers class is read as.
_READ_AS = {family.diffusers_class: family for family in (KLConfig, DiscreteConfig)}

# A config is read before its weights: these keep a broken one from building millions of modules.
_MAX_LAYERS = 64


@dataclass(frozen=True)
class LatentScaling:
    """How a diffusion model's pipeline scales latents; only `scaling_factor` is honoured by all.

    latents_mean, latents_std: read by SDXL's pipelines, for 4 channels alone, which compute
    (z - mean) / std * scaling_factor. shift_factor: read by SD3's, FLUX's and their kin, which
    compute (z - shift) * scaling_factor and cannot do without one: 0 is none.
    """

    scaling_factor: float = 0.18215
    shift_factor: float = 0.0
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


def to_diffusers_config(
    config: ModelSettings, scaling: LatentScaling, sample_size: int
) -> dict[str, Any]:
    """The `config.json` of the diffusers class that computes what `config`'s model computes.

    sample_size: pixels; diffusers derives the size of its tiles from it. Raises UserError for a
    model or a scaling that the class cannot hold.
    """
    coder = config.coder
    attention = [coder.has_attention(level) for level in range(len(coder.channels))]
    return {
        "_class_name": config.diffusers_class,
        "in_channels": coder.image_channels,
        "out_channels": coder.image_channels,
        "down_block_types": [_name(_DOWN, wanted) for wanted in attention],
        "up_block_types": [_name(_UP, wanted) for wanted in reversed(attention)],
        "block_out_channels": list(coder.channels),
        "layers_per_block": coder.num_res_blocks,
        "act_fn": "silu",
        "latent_channels": config.latent_channels,
        "norm_num_groups": coder.norm_groups,
        "sample_size": sample_size,
        "scaling_factor": scaling.scaling_factor,
        "mid_block_add_attention": coder.mid_attention,
        "force_upcast": True,  # fp16 is not measured, so pipelines should not rely on it
        **config.to_diffusers(),
        **_scaling(config, scaling),
    }


def _scaling(config: ModelSettings, scaling: LatentScaling) -> dict[str, Any]:
    """What a pipeline may read beside `scaling_factor`, where the class has room for it."""
    values = {
        "shift_factor": scaling.shift_factor,
        "latents_mean": _list(scaling.latents_mean),
        "latents_std": _list(scaling.latents_std),
    }
    held = {key: value for key, value in values.items() if key in config.diffusers_defaults}
    if any(value not in (None, 0) for key, value in values.items() if key not in held):
        raise UserError(
            f"{config.diffusers_class}'s config holds scaling_factor alone: leave out the shift and"
            " the per-channel statistics"
        )
    return held


def from_diffusers_config(content: Mapping[str, Any]) -> KLConfig | DiscreteConfig:
    """The model config of an AutoencoderKL's or VQModel's `config.json`.

    Raises UserError for another class, an unknown key that is set, and every setting under which
    diffusers would compute something that this package does not.
    """
    values = with_defaults(content)
    return _READ_AS[values["_class_name"]].from_diffusers(_coder(values), values)


def scaling_of(content: Mapping[str, Any]) -> LatentScaling:
    """The scaling in a `config.json`. Raises UserError for a scaling_factor that is not positive,
    and for anything else than numbers."""
    values = with_defaults(content)
    factor = values.number("scaling_factor")
    if not factor > 0:
        raise values.unsupported("scaling_factor", "a positive number is")
    return LatentScaling(
        scaling_factor=factor,
        shift_factor=0.0 if values.get("shift_factor") is None else values.number("shift_factor"),
        latents_mean=values.numbers("latents_mean"),
        latents_std=values.numbers("latents_std"),
    )


def with_defaults(content: Mapping[str, Any]) -> DiffusersConfig:
    """A `config.json` with diffusers' defaults for missing keys."""
    name = content.get("_class_name")
    if not isinstance(name, str) or name not in _READ_AS:
        raise UserError(
            f"config.json: _class_name={shown(name)} is not supported; only"
            f" {' and '.join(_READ_AS)} are"
        )
    defaults = {**_COMMON_DEFAULTS, **_READ_AS[name].diffusers_defaults}
    unknown = [
        key
        for key, value in content.items()
        if not key.startswith("_") and key not in defaults and value not in (None, False)
    ]
    if unknown:
        raise UserError(
            f"config.json: {name} has the unknown keys {shown(sorted(unknown))}; with them set, its"
            " output could not be promised to be the same"
        )
    return DiffusersConfig({**defaults, **content})


def _coder(values: DiffusersConfig) -> CoderConfig:
    if values["act_fn"] not in ("silu", "swish"):
        raise values.unsupported("act_fn", "only `silu` is")
    if values["in_channels"] != values["out_channels"]:
        raise values.unsupported("out_channels", "it must equal in_channels")
    widths = values["block_out_channels"]
    if not isinstance(widths, (list, tuple)) or not 1 <= len(widths) <= MAX_LEVELS:
        raise values.unsupported("block_out_channels", f"1 to {MAX_LEVELS} widths are")
    channels = tuple(
        DiffusersConfig(block_out_channels=width).integer("block_out_channels") for width in widths
    )
    down = _attention(values, "down_block_types", _DOWN, len(channels))
    up = _attention(values, "up_block_types", _UP, len(channels))
    if down != up[::-1]:
        raise values.unsupported(
            "up_block_types", "attention must be at the same resolutions as on the way down"
        )
    return CoderConfig(
        image_channels=values.integer("in_channels"),
        channels=channels,
        num_res_blocks=values.integer("layers_per_block", _MAX_LAYERS),
        attention_factors=tuple(2**level for level, wanted in enumerate(down) if wanted),
        mid_attention=values.boolean("mid_block_add_attention"),
        norm_groups=values.integer("norm_num_groups"),
    )


def _attention(
    values: DiffusersConfig, key: str, known: Mapping[str, bool], count: int
) -> list[bool]:
    types = values[key]
    if not isinstance(types, (list, tuple)) or len(types) != count:
        raise values.unsupported(key, f"one for each of the {count} block_out_channels is")
    if any(not isinstance(name, str) or name not in known for name in types):
        raise values.unsupported(key, f"only {' and '.join(known)} are")
    return [known[name] for name in types]


def _name(types: Mapping[str, bool], attention: bool) -> str:
    return next(name for name, has in types.items() if has == attention)


def _list(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)
