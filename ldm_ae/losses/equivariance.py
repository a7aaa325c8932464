"""Latents that may be scaled and turned like images (EQ-VAE, Kouzelis et al. 2025).

With a transformation T of the plane, arXiv:2502.09509, section 3.2, decodes the transformed latents
and asks for the transformed image:

    loss(T x, D(T E(x)))   instead of   loss(x, D(E(x)))

T is a quarter turn and a reduction by one factor for both sides, drawn anew for every step and the
same for all its images; with probability 1 - p it is left out. It is a pure function of (seed,
step): every rank and a resumed run draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.errors import UserError
from ldm_ae.noise import mix

_STREAM = 0x45512D564145  # apart from the images' noise, which is keyed by position


@dataclass(frozen=True)
class EquivarianceConfig:
    """probability: of a step whose latents are transformed; 0 is off, the paper has 0.5.

    min_scale: the smallest factor of the sides. rotate: turn by 0 to 3 quarters, too.
    """

    probability: float = 0.0
    min_scale: float = 0.25
    rotate: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise UserError(
                f"loss.equivariance.probability={self.probability}: use a value from 0 to 1"
            )
        if not 0 < self.min_scale <= 1:
            raise UserError(f"loss.equivariance.min_scale={self.min_scale}: use a value in (0, 1]")

    def smallest_image(self, size: int, factor: int) -> int:
        """The least side, in pixels, that an image of `size` px may have after the transform."""
        return size if self.probability == 0 else factor * _scaled(size // factor, self.min_scale)


@dataclass(frozen=True)
class Transform:
    """scale: factor of both sides, in (0, 1]. turns: quarters, counter-clockwise."""

    scale: float
    turns: int

    def latents(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, h', w'), to the nearest whole position."""
        height, width = (_scaled(side, self.scale) for side in latents.shape[2:])
        return torch.rot90(resize(latents, height, width), self.turns, dims=(2, 3))

    def images(self, images: Tensor, factor: int) -> Tensor:
        """(B, C, h f, w f) -> (B, C, h' f, w' f), so that they cover what the latents do."""
        height, width = (factor * _scaled(side // factor, self.scale) for side in images.shape[2:])
        return torch.rot90(resize(images, height, width), self.turns, dims=(2, 3))


def draw_transform(config: EquivarianceConfig, seed: int, step: int) -> Transform | None:
    """The transform of a training step, or None."""
    if config.probability == 0:
        return None
    rng = np.random.Generator(np.random.PCG64(mix(seed, _STREAM, step)))
    chance, share, turn = rng.random(3)
    if chance >= config.probability:
        return None
    scale = config.min_scale + (1 - config.min_scale) * float(share)
    return Transform(scale, int(4 * turn) if config.rotate else 0)


def transformed(batches: list[Batch], transform: Transform | None, factor: int) -> list[Batch]:
    """The images that the transformed latents of these batches should decode to."""
    if transform is None:
        return batches
    return [replace(batch, images=transform.images(batch.images, factor)) for batch in batches]


def _scaled(side: int, scale: float) -> int:
    return max(1, round(scale * side))


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) -> (B, C, height, width), antialiased bicubic.

    As two matrix products: the gradient of `interpolate` adds up in random order on a GPU, and a
    resumed run would not end with the same bits.
    """
    rows, columns = _resampling(x.shape[2], height, x), _resampling(x.shape[3], width, x)
    with torch.autocast(x.device.type, enabled=False):
        return rows @ x @ columns.T


def _resampling(size: int, new_size: int, like: Tensor) -> Tensor:
    """(new_size, size); each row has the weights of one new sample."""
    identity = torch.eye(size, dtype=torch.float64)[None, None]
    weights = F.interpolate(identity, (new_size, size), mode="bicubic", antialias=True)[0, 0]
    return weights.to(like)
