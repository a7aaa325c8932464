"""Numbers of latents as diffusion models see them: scaled, (B, c, h, w)."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor

_LEAST_VARIANCE = 1e-8  # of a direction that is not used at all


def covariance(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (c,) and covariance (c, c) over images and positions, float64."""
    rows = rearrange(latents.double(), "b c h w -> c (b h w)")
    return rows.mean(dim=1), torch.cov(rows, correction=0).reshape(len(rows), len(rows))


def correlation(latents: Tensor) -> Tensor:
    """(c, c) in [-1, 1]; a channel that never changes has none with any other."""
    _, found = covariance(latents)
    deviations = found.diagonal().clamp(min=_LEAST_VARIANCE).sqrt()
    return found / (deviations[:, None] * deviations)


def greatest_correlation(correlations: Tensor) -> float:
    """The largest absolute value between two different channels; 0 for a single one."""
    off = correlations - torch.diag(correlations.diagonal())
    return float(off.abs().max())


def nats_from_normal(latents: Tensor) -> float:
    """KL(N(m, S) || N(0, I)) / c in nats a value, m and S those of the latents of one position:
    1/2 (tr S + m.m - c - ln det S) / c. It is what a standard normal prior overlooks of the
    marginals and of the correlation between channels; positions are taken for independent."""
    mean, found = covariance(latents)
    variances = torch.linalg.eigvalsh(found).clamp(min=_LEAST_VARIANCE)
    nats = 0.5 * (variances.sum() + mean.square().sum() - len(mean) - variances.log().sum())
    return float(nats) / len(mean)


def radial_spectrum(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles a latent, up to 1/2, and the mean power there: over channels, images
    and directions, each channel of an image less its mean and under a Hann window.

    A spectrum that stays high at the upper end is what makes latents hard to denoise (Skorokhodov
    et al. 2025). Images must have at least 8 x 8 latents.
    """
    height, width = latents.shape[-2:]
    window = torch.hann_window(height, periodic=False, dtype=torch.float64)[:, None]
    window = window * torch.hann_window(width, periodic=False, dtype=torch.float64)
    values = latents.double()
    values = (values - values.mean(dim=(2, 3), keepdim=True)) * window
    power = torch.fft.fft2(values).abs().square().mean(dim=(0, 1)) / window.square().sum()
    across = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    along = torch.fft.fftfreq(width, dtype=torch.float64)
    radius = (across.square() + along.square()).sqrt()
    rings = max(min(height, width) // 2, 1)
    edges = torch.linspace(0, 0.5, rings + 1, dtype=torch.float64)
    frequencies, powers = [], []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside = (radius > low) & (radius <= high)
        if inside.any():
            frequencies.append(float(radius[inside].mean()))
            powers.append(float(power[inside].mean()))
    return torch.tensor(frequencies), torch.tensor(powers)


def spectral_slope(frequencies: Tensor, powers: Tensor) -> float:
    """The exponent a of power ~ frequency^a by least squares in logarithms. Photographs have about
    -2 (Field 1987), white noise 0."""
    x, y = frequencies.log(), powers.clamp(min=1e-30).log()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def share_above(frequencies: Tensor, powers: Tensor, limit: float = 0.25) -> float:
    """The share of the variance at frequencies above `limit`: rings weigh by their length."""
    weights = powers * frequencies
    total = float(weights.sum())
    return float(weights[frequencies > limit].sum()) / total if total > 0 else math.nan
