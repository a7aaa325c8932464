"""Autoencoders for latent diffusion: train, export to diffusers, compress, measure."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldm_ae.codec.codec import Codec
    from ldm_ae.convert.load import load
    from ldm_ae.convert.wrap import wrap
    from ldm_ae.models.discrete import DiscreteAutoencoder
    from ldm_ae.models.kl import KLAutoencoder
    from ldm_ae.models.plain import PlainAutoencoder
    from ldm_ae.pretrained import load_codec
    from ldm_ae.store.latent_store import LatentStore

    __version__: str

__all__ = [
    "Codec",
    "DiscreteAutoencoder",
    "KLAutoencoder",
    "LatentStore",
    "PlainAutoencoder",
    "__version__",
    "load",
    "load_codec",
    "wrap",
]

# Imported when first asked for: torch takes a second and more, and `ldm-ae info` needs none of it.
_HOMES = {
    "Codec": "ldm_ae.codec.codec",
    "DiscreteAutoencoder": "ldm_ae.models.discrete",
    "KLAutoencoder": "ldm_ae.models.kl",
    "LatentStore": "ldm_ae.store.latent_store",
    "PlainAutoencoder": "ldm_ae.models.plain",
    "load": "ldm_ae.convert.load",
    "load_codec": "ldm_ae.pretrained",
    "wrap": "ldm_ae.convert.wrap",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module("ldm_ae.installed").version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
