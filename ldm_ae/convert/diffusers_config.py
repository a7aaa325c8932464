"""Model configs <-> the `config.json` of the diffusers classes that this package computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldm_ae.convert.diffusers_coders import (
    ASYMMETRIC_DEFAULTS,
    MIRRORED_DEFAULTS,
    asymmetric_coders,
    image_channels,
    keys_of,
    mirrored_coder,
)
from ldm_ae.errors import UserError
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.settings import DiffusersConfig, ModelSettings, shown
from ldm_ae.models.tiny import TinyConfig

_CHANNELS = {"in_channels": 3, "out_channels": 3}

# The classes that are read, each with what diffusers takes a missing key for.
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "AutoencoderKL": {**_CHANNELS, **MIRRORED_DEFAULTS, **KLConfig.diffusers_defaults},
    "AsymmetricAutoencoderKL": {**_CHANNELS, **ASYMMETRIC_DEFAULTS},
    "VQModel": {**_CHANNELS, **MIRRORED_DEFAULTS, **DiscreteConfig.diffusers_defaults},
    "AutoencoderTiny": TinyConfig.diffusers_defaults,
}


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
    tiny = isinstance(config, TinyConfig)
    return {
        "_class_name": config.diffusers_class,
        "in_channels": config.image_channels,
        "out_channels": config.image_channels,
        "latent_channels": config.latent_channels,
        "scaling_factor": scaling.scaling_factor,
        **({} if tiny else keys_of(config.coder, config.decoder, sample_size)),
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
    held = {key: value for key, value in values.items() if key in DEFAULTS[config.diffusers_class]}
    if any(value not in (None, 0) for key, value in values.items() if key not in held):
        raise UserError(
            f"{config.diffusers_class}'s config holds scaling_factor alone: leave out the shift and"
            " the per-channel statistics"
        )
    return held


def from_diffusers_config(content: Mapping[str, Any]) -> KLConfig | DiscreteConfig | TinyConfig:
    """The model config that a `config.json` describes. An AsymmetricAutoencoderKL's has all parts
    of its class; `asymmetric.trimmed` takes off those of which its weights make no use.

    Raises UserError for another class, an unknown key that is set, and every setting under which
    diffusers would compute something that this package does not.
    """
    values = with_defaults(content)
    name = values["_class_name"]
    if name == "AsymmetricAutoencoderKL":
        coder, decoder = asymmetric_coders(values)
        channels = values.integer("latent_channels")
        return KLConfig(coder=coder, decoder=decoder, latent_channels=channels)
    if name == "AutoencoderTiny":
        return TinyConfig.from_diffusers(image_channels(values), values)
    family = DiscreteConfig if name == "VQModel" else KLConfig
    return family.from_diffusers(mirrored_coder(values), values)


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
    if not isinstance(name, str) or name not in DEFAULTS:
        raise UserError(
            f"config.json: _class_name={shown(name)} is not supported; only"
            f" {', '.join(DEFAULTS)} are"
        )
    defaults = DEFAULTS[name]
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


def _list(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)
