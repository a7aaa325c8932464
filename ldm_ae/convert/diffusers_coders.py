"""The shapes of an encoder and a decoder <-> their keys in diffusers' `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldm_ae.models.coders import MAX_LEVELS, CoderConfig, DecoderConfig
from ldm_ae.models.settings import DiffusersConfig

_DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}
_UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}

# What diffusers takes a missing key for; early files leave most of them out.
_BLOCKS: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "act_fn": "silu",
    "norm_num_groups": 32,
    "sample_size": 32,
    "scaling_factor": 0.18215,
}
MIRRORED_DEFAULTS: dict[str, Any] = {
    **_BLOCKS,
    "block_out_channels": [64],
    "layers_per_block": 1,
    "mid_block_add_attention": True,
}
# block_out_channels and force_upcast are what the class notes by itself.
ASYMMETRIC_DEFAULTS: dict[str, Any] = {
    **_BLOCKS,
    "latent_channels": 4,
    "down_block_out_channels": [64],
    "up_block_out_channels": [64],
    "layers_per_down_block": 1,
    "layers_per_up_block": 1,
    "block_out_channels": [64],
    "force_upcast": False,
}

# A config is read before its weights: these keep a broken one from building millions of modules.
_MAX_LAYERS = 64


def keys_of(coder: CoderConfig, decoder: DecoderConfig | None, sample_size: int) -> dict[str, Any]:
    """Of a mirrored decoder, or of AsymmetricAutoencoderKL, where it has a shape of its own."""
    up = decoder or DecoderConfig.mirrored(coder)
    levels = [2**level for level in range(len(coder.channels))]
    found: dict[str, Any] = {
        "down_block_types": [_name(_DOWN, f in coder.attention_factors) for f in levels],
        "up_block_types": [_name(_UP, f in up.attention_factors) for f in reversed(levels)],
        "act_fn": "silu",
        "norm_num_groups": coder.norm_groups,
        "sample_size": sample_size,
    }
    if decoder is None:
        return found | {
            "block_out_channels": list(coder.channels),
            "layers_per_block": coder.num_res_blocks,
            "mid_block_add_attention": coder.mid_attention,
            "force_upcast": True,  # fp16 is not measured, so pipelines should not rely on it
        }
    return found | {
        "down_block_out_channels": list(coder.channels),
        "layers_per_down_block": coder.num_res_blocks,
        "up_block_out_channels": list(decoder.channels),
        "layers_per_up_block": decoder.num_res_blocks,
    }


def mirrored_coder(values: DiffusersConfig) -> CoderConfig:
    """Raises UserError for what this package does not compute, as `asymmetric_coders`."""
    coder = _coder(values, "block_out_channels", "layers_per_block")
    up = _attention(values, "up_block_types", _UP, len(coder.channels))
    if _factors(up[::-1]) != coder.attention_factors:
        raise values.unsupported(
            "up_block_types", "attention must be at the same resolutions as on the way down"
        )
    return coder


def asymmetric_coders(values: DiffusersConfig) -> tuple[CoderConfig, DecoderConfig]:
    """Of AsymmetricAutoencoderKL, which always has attention in the middle of both."""
    both = DiffusersConfig({**values, "mid_block_add_attention": True})
    coder = _coder(both, "down_block_out_channels", "layers_per_down_block")
    channels = values.integers("up_block_out_channels", MAX_LEVELS)
    up = _attention(values, "up_block_types", _UP, len(channels))
    decoder = DecoderConfig(
        channels=channels,
        num_res_blocks=values.integer("layers_per_up_block", _MAX_LAYERS, at_least=0),
        attention_factors=_factors(up[::-1]),
        mid_attention=True,
    )
    return coder, decoder


def _coder(values: DiffusersConfig, widths: str, layers: str) -> CoderConfig:
    if values["act_fn"] not in ("silu", "swish"):
        raise values.unsupported("act_fn", "only `silu` is")
    channels = values.integers(widths, MAX_LEVELS)
    return CoderConfig(
        image_channels=image_channels(values),
        channels=channels,
        num_res_blocks=values.integer(layers, _MAX_LAYERS),
        attention_factors=_factors(_attention(values, "down_block_types", _DOWN, len(channels))),
        mid_attention=values.boolean("mid_block_add_attention"),
        norm_groups=values.integer("norm_num_groups"),
    )


def image_channels(values: DiffusersConfig) -> int:
    if values["in_channels"] != values["out_channels"]:
        raise values.unsupported("out_channels", "it must equal in_channels")
    return values.integer("in_channels")


def _attention(
    values: DiffusersConfig, key: str, known: Mapping[str, bool], count: int
) -> list[bool]:
    types = values[key]
    if not isinstance(types, (list, tuple)) or len(types) != count:
        raise values.unsupported(key, f"one for each of the {count} widths is")
    if any(not isinstance(name, str) or name not in known for name in types):
        raise values.unsupported(key, f"only {' and '.join(known)} are")
    return [known[name] for name in types]


def _factors(attention: list[bool]) -> tuple[int, ...]:
    """From which resolutions, finest first, have attention."""
    return tuple(2**level for level, wanted in enumerate(attention) if wanted)


def _name(types: Mapping[str, bool], attention: bool) -> str:
    return next(name for name, has in types.items() if has == attention)
