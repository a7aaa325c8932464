"""Model configs <-> the `config.json` of diffusers' AutoencoderKL and VQModel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldm_ae.models.build import ModelConfig
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.dvae import DVAEConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.vq import VQConfig
from ldm_ae.quantizers.codebook import CodebookConfig

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
_DEFAULTS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": _COMMON_DEFAULTS
    | {
        "latent_channels": 4,
        "shift_factor": None,
        "latents_mean": None,
        "latents_std": None,
        "force_upcast": True,
        "use_quant_conv": True,
        "use_post_quant_conv": True,
    },
    "VQModel": _COMMON_DEFAULTS
    | {
        "latent_channels": 3,
        "num_vq_embeddings": 256,
        "vq_embed_dim": None,
        "norm_type": "group",
        "lookup_from_codebook": False,
        "force_upcast": False,
    },
}

# A config is read before its weights: these keep a broken one from building millions of modules.
_MAX_LEVELS, _MAX_LAYERS, _MAX_CHANNELS, _MAX_CODES = 12, 64, 1 << 16, 1 << 24


@dataclass(frozen=True)
class LatentScaling:
    """How a diffusion model's pipeline scales latents; only `scaling_factor` is honoured by all.

    latents_mean, latents_std: read by SDXL's pipelines, which compute (z - mean) / std *
    scaling_factor. shift_factor: read by SD3's and FLUX's, which compute (z - shift) *
    scaling_factor.
    """

    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


def to_diffusers_config(
    config: ModelConfig, scaling: LatentScaling, sample_size: int
) -> dict[str, Any]:
    """The `config.json` of the diffusers class that computes what `config`'s model computes.

    sample_size: pixels; diffusers derives the size of its tiles from it. Raises ValueError for a
    config that is none of the four families', and for a scaling that VQModel cannot hold.
    """
    if not isinstance(config, (KLConfig, PlainConfig, VQConfig, DVAEConfig)):
        raise ValueError(f"{type(config).__name__} has no diffusers class: it cannot be exported")
    coder = config.coder
    attention = [coder.has_attention(level) for level in range(len(coder.channels))]
    common = {
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
    }
    if isinstance(config, (KLConfig, PlainConfig)):
        return {
            "_class_name": "AutoencoderKL",
            **common,
            "shift_factor": scaling.shift_factor,
            "latents_mean": _list(scaling.latents_mean),
            "latents_std": _list(scaling.latents_std),
            "use_quant_conv": config.quant_conv,
            "use_post_quant_conv": config.quant_conv,
        }
    if (scaling.shift_factor, scaling.latents_mean, scaling.latents_std) != (None, None, None):
        raise ValueError(
            "VQModel's config holds scaling_factor alone: leave out the shift and the per-channel"
            " statistics for models with a codebook"
        )
    return {
        "_class_name": "VQModel",
        **common,
        "num_vq_embeddings": config.codebook.size,
        "vq_embed_dim": config.code_dim,
        "norm_type": "group",
        "lookup_from_codebook": False,
    }


def from_diffusers_config(content: Mapping[str, Any]) -> KLConfig | VQConfig:
    """The model config of an AutoencoderKL's or VQModel's `config.json`.

    Raises ValueError for another class, an unknown key that is set, and every setting under which
    diffusers would compute something that this package does not.
    """
    values = with_defaults(content)
    if values["_class_name"] == "AutoencoderKL":
        if values["use_quant_conv"] != values["use_post_quant_conv"]:
            raise _unsupported(values, "use_post_quant_conv", "it must equal use_quant_conv")
        return KLConfig(
            coder=_coder(values),
            latent_channels=_integer(values, "latent_channels", _MAX_CHANNELS),
            quant_conv=bool(values["use_quant_conv"]),
        )
    if values["norm_type"] != "group":
        raise _unsupported(values, "norm_type", "only `group` is")
    code_channels = values["vq_embed_dim"]
    if code_channels is not None:
        code_channels = _integer(values, "vq_embed_dim", _MAX_CHANNELS)
    size = _integer(values, "num_vq_embeddings", _MAX_CODES)
    return VQConfig(
        coder=_coder(values),
        latent_channels=_integer(values, "latent_channels", _MAX_CHANNELS),
        code_channels=code_channels,
        codebook=CodebookConfig(size=size, init="uniform"),
    )


def scaling_of(content: Mapping[str, Any]) -> LatentScaling:
    """The scaling in a `config.json`; ValueError if scaling_factor is not a positive number."""
    values = with_defaults(content)
    factor = values["scaling_factor"]
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor > 0:
        raise _unsupported(values, "scaling_factor", "a positive number is")
    return LatentScaling(
        scaling_factor=float(factor),
        shift_factor=values.get("shift_factor"),
        latents_mean=_tuple(values.get("latents_mean")),
        latents_std=_tuple(values.get("latents_std")),
    )


def with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json` with diffusers' defaults for missing keys."""
    name = content.get("_class_name")
    if name not in _DEFAULTS:
        raise ValueError(
            f"config.json: _class_name={name} is not supported; only {' and '.join(_DEFAULTS)} are"
        )
    defaults = _DEFAULTS[name]
    unknown = [
        key
        for key, value in content.items()
        if not key.startswith("_") and key not in defaults and value not in (None, False)
    ]
    if unknown:
        raise ValueError(
            f"config.json: {name} has the unknown keys {sorted(unknown)}; with them set, its output"
            " could not be promised to be the same"
        )
    return {**defaults, **content}


def _coder(values: Mapping[str, Any]) -> CoderConfig:
    if values["act_fn"] not in ("silu", "swish"):
        raise _unsupported(values, "act_fn", "only `silu` is")
    if values["in_channels"] != values["out_channels"]:
        raise _unsupported(values, "out_channels", "it must equal in_channels")
    widths = values["block_out_channels"]
    if not isinstance(widths, (list, tuple)) or not 1 <= len(widths) <= _MAX_LEVELS:
        raise _unsupported(values, "block_out_channels", f"1 to {_MAX_LEVELS} widths are")
    channels = tuple(_integer({"block_out_channels": w}, "block_out_channels") for w in widths)
    down = _attention(values, "down_block_types", _DOWN, len(channels))
    up = _attention(values, "up_block_types", _UP, len(channels))
    if down != up[::-1]:
        raise _unsupported(
            values, "up_block_types", "attention must be at the same resolutions as on the way down"
        )
    return CoderConfig(
        image_channels=_integer(values, "in_channels"),
        channels=channels,
        num_res_blocks=_integer(values, "layers_per_block", _MAX_LAYERS),
        attention_factors=tuple(2**level for level, wanted in enumerate(down) if wanted),
        mid_attention=bool(values["mid_block_add_attention"]),
        norm_groups=_integer(values, "norm_num_groups"),
    )


def _attention(
    values: Mapping[str, Any], key: str, known: Mapping[str, bool], count: int
) -> list[bool]:
    types = values[key]
    if not isinstance(types, (list, tuple)) or len(types) != count:
        raise _unsupported(values, key, f"one for each of the {count} block_out_channels is")
    if any(name not in known for name in types):
        raise _unsupported(values, key, f"only {' and '.join(known)} are")
    return [known[name] for name in types]


def _integer(values: Mapping[str, Any], key: str, at_most: int = _MAX_CHANNELS) -> int:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= at_most:
        raise _unsupported(values, key, f"an integer from 1 to {at_most} is")
    return value


def _unsupported(values: Mapping[str, Any], key: str, remedy: str) -> ValueError:
    return ValueError(f"config.json: {key}={values[key]} is not supported; {remedy}")


def _name(types: Mapping[str, bool], attention: bool) -> str:
    return next(name for name, has in types.items() if has == attention)


def _list(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)


def _tuple(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
