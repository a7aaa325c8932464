"""Autoencoders for latent diffusion: train, export to diffusers, compress, measure."""

from importlib.metadata import version

from ldm_ae.codec.codec import Codec
from ldm_ae.convert.load import load
from ldm_ae.models.dvae import DiscreteVAE
from ldm_ae.models.kl import KLAutoencoder
from ldm_ae.models.plain import PlainAutoencoder
from ldm_ae.models.vq import VQAutoencoder
from ldm_ae.pretrained import load_codec

__all__ = [
    "Codec",
    "DiscreteVAE",
    "KLAutoencoder",
    "PlainAutoencoder",
    "VQAutoencoder",
    "__version__",
    "load",
    "load_codec",
]

__version__ = version("ldm-ae")
