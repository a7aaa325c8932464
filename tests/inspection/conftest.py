from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Shrinking(nn.Module):
    """An autoencoder that does nothing but shrink by two and grow again, plus what it is told."""

    downsampling_factor, latent_channels, image_channels = 2, 3, 3
    scaling_factor, shift_factor = 1.0, 0.0
    quantizer = None

    def __init__(self, pattern: Tensor | None = None) -> None:
        super().__init__()
        self.pattern = pattern
        self.unused = nn.Parameter(torch.zeros(1))
        self.decoded: list[Tensor] = []

    def encode(self, images: Tensor) -> Tensor:
        latents = F.avg_pool2d(images, 2)
        if self.pattern is None:
            return latents
        return latents + self.pattern[: latents.shape[2], : latents.shape[3]]

    def decode(self, latents: Tensor) -> Tensor:
        self.decoded.append(latents)
        if self.pattern is not None:
            latents = latents - self.pattern[: latents.shape[2], : latents.shape[3]]
        return F.interpolate(latents, scale_factor=2)

    def decode_indices(self, indices: Tensor) -> Tensor:
        self.decoded.append(indices)
        return torch.zeros(len(indices), 3, 2 * indices.shape[1], 2 * indices.shape[2])


@pytest.fixture
def shrinking() -> type[Shrinking]:
    return Shrinking


@pytest.fixture
def images() -> Tensor:
    """Blocks of two pixels, so that shrinking by two loses nothing."""
    coarse = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return F.interpolate(coarse, scale_factor=2)
