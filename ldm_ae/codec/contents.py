"""What a file holds of a picture: quantised latents, or code indices. One interface for both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.format.ladder import dequantise, step
from ldm_ae.codec.passes import (
    decode_indices,
    decode_latents,
    encode_indices,
    encode_latents,
    index_bits,
    latent_bits,
)
from ldm_ae.codec.priors.base import IndexPrior, LatentPrior
from ldm_ae.codec.priors.file import Prior
from ldm_ae.codec.rdoq import LAGRANGIAN, choose_symbols
from ldm_ae.codec.tiles import decode_tiles, encode_tiles
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.dvae import DiscreteVAE
from ldm_ae.models.vq import VQAutoencoder


@dataclass(frozen=True)
class LatentContent:
    """Latents float32 (C, h, w), coded as symbols int64 (C, h, w) at a quality."""

    model: Autoencoder
    prior: LatentPrior
    discrete = False

    def analyse(self, images: Tensor) -> np.ndarray:
        """Images (B, C, H, W) in [-1, 1], multiples of f => latents float32 (B, c, h, w)."""
        latents = encode_tiles(self.model.encode, images, self.model.downsampling_factor)
        return latents.float().cpu().numpy()

    def symbols(
        self, content: np.ndarray, quality: int, lagrangian: float = LAGRANGIAN
    ) -> np.ndarray:
        """Those worth their bits, which may be beside the nearest ones."""
        return choose_symbols(content, self.prior, quality, lagrangian)

    def pack(self, symbols: np.ndarray, quality: int) -> bytes:
        return encode_latents(symbols, self.prior, quality)

    def unpack(self, payload: bytes, height: int, width: int, quality: int) -> np.ndarray:
        """The symbols of a payload for latents of this height and width."""
        shape = (self.model.latent_channels, height, width)
        return decode_latents(payload, self.prior, shape, quality)

    def synthesise(self, symbols: np.ndarray, quality: int) -> Tensor:
        """Symbols (c, h, w) => images (1, C, h f, w f)."""
        latents = dequantise(symbols * step(quality), self.prior.centre, self.prior.unit)
        batch = _batch(latents, self.model)
        return decode_tiles(self.model.decode, batch, self.model.downsampling_factor)

    def bits(self, symbols: np.ndarray, quality: int) -> float:
        """The prior's cross-entropy: what a perfect coder would write."""
        return latent_bits(symbols, self.prior, quality)


@dataclass(frozen=True)
class IndexContent:
    """Code indices int64 (h, w), which are their own symbols; quality is always 0."""

    model: VQAutoencoder | DiscreteVAE
    prior: IndexPrior
    discrete = True

    def analyse(self, images: Tensor) -> np.ndarray:
        """Images (B, C, H, W) in [-1, 1], multiples of f => indices int64 (B, h, w)."""
        latents = encode_tiles(self.model.encode, images, self.model.downsampling_factor)
        return self.model.quantize.indices(latents).cpu().numpy()

    def symbols(
        self, content: np.ndarray, quality: int, lagrangian: float = LAGRANGIAN
    ) -> np.ndarray:
        return content

    def pack(self, symbols: np.ndarray, quality: int) -> bytes:
        return encode_indices(symbols, self.prior)

    def unpack(self, payload: bytes, height: int, width: int, quality: int) -> np.ndarray:
        """The indices of a payload for this height and width."""
        return decode_indices(payload, self.prior, (height, width))

    def synthesise(self, symbols: np.ndarray, quality: int) -> Tensor:
        """Indices (h, w) => images (1, C, h f, w f)."""
        batch = _batch(symbols, self.model)
        return decode_tiles(self.model.decode_indices, batch, self.model.downsampling_factor)

    def bits(self, symbols: np.ndarray, quality: int) -> float:
        """The prior's cross-entropy: what a perfect coder would write."""
        return index_bits(symbols, self.prior)


def content_of(model: Autoencoder, prior: Prior) -> LatentContent | IndexContent:
    """How this model's pictures are coded with this prior. Raises ValueError for a prior of
    another kind of model."""
    # A protocol cannot be asked for at run time; these two attributes tell the priors apart.
    if isinstance(model, (VQAutoencoder, DiscreteVAE)):
        if getattr(prior, "num_codes", None) == model.codebook_size:
            return IndexContent(model, prior)  # type: ignore[arg-type]
        wanted = f"{model.codebook_size} codes"
    else:
        if len(getattr(prior, "centre", ())) == model.latent_channels:
            return LatentContent(model, prior)  # type: ignore[arg-type]
        wanted = f"{model.latent_channels} latent channels"
    raise ValueError(
        f"the prior {prior.name!r} does not suit this model of {wanted}: calibrate the model"
    )


def _batch(array: np.ndarray, model: Autoencoder) -> Tensor:
    return torch.from_numpy(array)[None].to(next(model.parameters()).device)
