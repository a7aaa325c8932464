"""Pixel terms that weigh fine detail, all of the error e = x' - x of images (B, C, H, W).

Each is a mean per value of the image, so that its weight means the same at any size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.errors import UserError


@dataclass(frozen=True)
class FrequencyConfig:
    """A weight of 0 leaves its term out.

    haar_weight: of the wavelet term. haar_levels: how often the low band is split. haar_bands:
        weights of the details along x, along y and along both.
    focal_weight: of the focal frequency term. focal_alpha: its exponent; 0 is the squared error.
    high_pass_weight: of what a Gaussian blur takes away. high_pass_sigma: its deviation, pixels.
    """

    haar_weight: float = 0.0
    haar_levels: int = 2
    haar_bands: tuple[float, float, float] = (1.0, 1.0, 1.0)
    focal_weight: float = 0.0
    focal_alpha: float = 1.0
    high_pass_weight: float = 0.0
    high_pass_sigma: float = 1.0

    def __post_init__(self) -> None:
        for name in ("haar_weight", "focal_weight", "focal_alpha", "high_pass_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"loss.frequency.{name}={getattr(self, name)}: use 0 or more")
        if self.haar_levels < 1:
            raise UserError(f"loss.frequency.haar_levels={self.haar_levels}: use 1 or more")
        if min(self.haar_bands) < 0 or max(self.haar_bands) == 0:
            raise UserError(
                f"loss.frequency.haar_bands={list(self.haar_bands)}: use weights of 0 or more,"
                " one of them positive"
            )
        if self.high_pass_sigma <= 0:
            raise UserError(
                f"loss.frequency.high_pass_sigma={self.high_pass_sigma}: use a positive deviation"
            )

    @property
    def smallest_image(self) -> int:
        """The least side, in pixels, that the terms in use are defined for."""
        haar = 2**self.haar_levels if self.haar_weight > 0 else 1
        return max(haar, 2 * _radius(self.high_pass_sigma) + 1 if self.high_pass_weight > 0 else 1)


def frequency_terms(
    config: FrequencyConfig, output: Tensor, images: Tensor
) -> Iterator[tuple[str, float, Tensor]]:
    """(name, weight, scalar) of each term in use; both sides are (B, C, H, W)."""
    if config.haar_weight > 0:
        value = haar(output - images, config.haar_levels, config.haar_bands)
        yield "haar", config.haar_weight, value
    if config.focal_weight > 0:
        value = focal_frequency(output - images, config.focal_alpha)
        yield "focal_frequency", config.focal_weight, value
    if config.high_pass_weight > 0:
        value = high_pass(output - images, config.high_pass_sigma)
        yield "high_pass", config.high_pass_weight, value


def haar(error: Tensor, levels: int, bands: Sequence[float]) -> Tensor:
    """1 / N sum_levels sum_b w_b |(W e)_b|: the absolute details of the orthonormal Haar transform
    W (Mallat 1989), per each of e's N values. An odd last row or column is left out."""
    low, total = error, error.new_zeros(())
    for _ in range(levels):
        low, details = _haar_split(low)
        for weight, detail in zip(bands, details, strict=True):
            total = total + weight * detail.abs().sum()
    return total / error.numel()


def _haar_split(x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """(B, C, H, W) -> the low band and the details along x, y and both, (B, C, H/2, W/2)."""
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    a, b = x[..., 0:height:2, 0:width:2], x[..., 0:height:2, 1:width:2]
    c, d = x[..., 1:height:2, 0:width:2], x[..., 1:height:2, 1:width:2]
    return (a + b + c + d) / 2, ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2)


def focal_frequency(error: Tensor, alpha: float) -> Tensor:
    """mean_uv w |E|^2 with E the unitary Fourier transform of e and w = |E|^alpha, divided by its
    largest value in each channel and without a gradient (Jiang et al. 2021, arXiv:2012.12821,
    eq. 7-9): frequencies that are still wrong count most."""
    spectrum = torch.fft.fft2(error, norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()
    weight = power.detach() ** (alpha / 2)
    largest = weight.amax(dim=(-2, -1), keepdim=True)
    weight = weight / largest.clamp_min(torch.finfo(weight.dtype).tiny)
    return (weight * power).mean()


def high_pass(error: Tensor, sigma: float) -> Tensor:
    """mean |e - G_sigma * e|, where the blur G needs no values from outside the image; the finest
    level of a Laplacian pyramid (Burt and Adelson 1983, eq. 3) before it is thinned out."""
    radius = _radius(sigma)
    offsets = torch.arange(-radius, radius + 1, device=error.device, dtype=error.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    planes = error.flatten(0, 1)[:, None]  # (B C, 1, H, W)
    blurred = F.conv2d(F.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    inside = planes[..., radius:-radius, radius:-radius]
    return (inside - blurred).abs().mean()


def _radius(sigma: float) -> int:
    return math.ceil(3 * sigma)
