"""What a file holds of a picture: quantised latents, or the code indices of a discrete model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec import passes
from ldm_ae.codec.priors.base import Prior
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.rows import Rows

# lambda, squared steps a bit; by LPIPS, on photos that no figure is given for. For squared error in
# the picture a uniform quantiser's slope at high rate, 2 ln(2) / 12 = 0.116, is about right. It
# costs detail, which a perceptual distance wants: there a quarter of it is best.
LAGRANGIAN = 0.03

# Pictures of up to this many pixels go through the network whole, larger ones in strips.
WHOLE_PIXELS = 1 << 21
MAX_MEMORY = "1GB"


@dataclass(frozen=True)
class Content:
    """How images become arrays, those become symbols and a payload, and back.

    The array of an image is its latents, float32 (c, h, w), or its code indices, int64 (h, w).
    Symbols, int64 of that shape, are the latents' at a quality: those worth their bits, which may
    be beside the nearest ones. Indices are their own symbols, at the quality 0.

    max_memory: of the network on a large picture, as `Autoencoder.encode` takes it.
    """

    model: Autoencoder
    prior: Prior
    max_memory: int | str = MAX_MEMORY

    def __post_init__(self) -> None:
        """Raise UserError for a prior of another kind of model."""
        wanted = f"latents of {self.model.latent_channels} channels"
        if self.model.quantizer is not None:
            wanted = f"indices of {self.model.quantizer.num_codes} codes"
        if self.prior.of != wanted:
            raise UserError(
                f"the prior {self.prior.name!r} is of {self.prior.of}, this model has {wanted}:"
                " calibrate the model"
            )

    @property
    def discrete(self) -> bool:
        return self.prior.scale is None

    def analyse(self, images: Tensor | Rows) -> np.ndarray:
        """Images (B, C, H, W) in [-1, 1], multiples of f => their arrays (B, ...). Raises
        FloatingPointError for latents that are not finite."""
        height, width = images.shape[2:]
        if height * width > WHOLE_PIXELS:
            latents = self.model.encode(images, self.max_memory)
        else:
            whole = images if isinstance(images, Tensor) else images.read(0, height)
            latents = self.model.encode(whole)
        if not bool(latents.isfinite().all()):
            raise FloatingPointError("latents that are not finite (NaN or infinity)")
        if self.model.quantizer is not None:
            return self.model.quantizer.indices(latents).cpu().numpy()
        return latents.float().cpu().numpy()

    def pack(
        self, array: np.ndarray, quality: int, lagrangian: float = LAGRANGIAN
    ) -> tuple[np.ndarray, bytes]:
        """The array of an image => its symbols, and their payload."""
        scale = self.prior.scale
        wanted = array if scale is None else scale.in_steps(array, quality)
        return passes.encode(self.prior, wanted, quality, lagrangian)

    def unpack(self, payload: bytes, height: int, width: int, quality: int) -> np.ndarray:
        """The symbols of a payload for so many rows and columns. Raises UserError for bytes that
        cannot hold any."""
        channels = () if self.discrete else (self.model.latent_channels,)
        return passes.decode(self.prior, payload, (*channels, height, width), quality)

    def latents(self, symbols: np.ndarray, quality: int) -> Tensor:
        """Symbols => the latents (1, c, h, w) they stand for, on the model's device."""
        if self.model.quantizer is not None:
            return self.model.quantizer.lookup(self._batch(symbols))
        assert self.prior.scale is not None
        return self._batch(self.prior.scale.latents(symbols, quality))

    def synthesise(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[int, Tensor]]:
        """Symbols => images (1, C, h f, w f) from top to bottom, as (first row, rows)."""
        codes = self.latents(symbols, quality)
        pixels = codes.shape[2] * codes.shape[3] * self.model.downsampling_factor**2
        if pixels > WHOLE_PIXELS:
            strips = self.model.decode_codes_in_strips(codes, self.max_memory)
        else:
            strips = iter([(0, self.model.decode_codes(codes))])
        for top, rows in strips:
            yield top, rows[:, : self.model.image_channels]

    def bits(self, symbols: np.ndarray, quality: int) -> float:
        """The prior's cross-entropy: what a perfect coder would write."""
        return passes.cross_entropy(self.prior, symbols, quality)

    def _batch(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array)[None].to(next(self.model.parameters()).device)
