"""How far statistics of latents may be off, for having been taken on these images and no others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_ae.models.gaussian import DiagonalGaussian

ENOUGH_IMAGES = 1_000
_LEAST_IMAGES = 10  # of fewer, the normal distribution below would promise too much
_WIDTH = 1.96  # deviations of a normal distribution that hold 95 % of it on both sides


@dataclass(frozen=True)
class Uncertainty:
    """95 % confidence: half the width of an interval, but for `scaling_factor`, its two ends.

    Latents of one image are alike, so that images are what is independent, not positions: an
    image's own mean and squared deviation are averaged, and their spread gives the error (the delta
    method). Crops of one image are counted as one, which can only widen the intervals.
    """

    scaling_factor: tuple[float, float]
    mean: float
    channel_mean: list[float]
    channel_std: list[float]


class ImageMoments:
    """Mean and variance over the positions of each image, per channel, fp64."""

    def __init__(self) -> None:
        self._means: list[Tensor] = []
        self._variances: list[Tensor] = []

    def update(self, latents: Tensor, posterior: DiagonalGaussian | None) -> None:
        """Add (B, c, h, w); a posterior's own variance counts."""
        values = latents.detach().cpu().double()
        variance = values.var((2, 3), correction=0)
        if posterior is not None:
            variance += posterior.std.detach().cpu().double().square().mean((2, 3))
        self._means.append(values.mean((2, 3)))
        self._variances.append(variance)

    def uncertainty(self, num_different: int) -> Uncertainty | None:
        """num_different: images that are not crops of one another. None for too few."""
        if num_different < _LEAST_IMAGES:
            return None
        means, variances = torch.cat(self._means), torch.cat(self._variances)  # (N, c)

        def error(values: Tensor) -> Tensor:
            """Of the mean over N images."""
            return _WIDTH * values.std(0) / math.sqrt(num_different)

        each = variances + (means - means.mean(0)).square()
        overall = (variances + (means - means.mean()).square()).mean(1)
        # As a ratio, d log(1 / std) = d var / (2 var): both ends stay positive.
        factor, ratio = overall.mean().rsqrt(), (error(overall) / (2 * overall.mean())).exp()
        return Uncertainty(
            scaling_factor=(float(factor / ratio), float(factor * ratio)),
            mean=float(error(means.mean(1))),
            channel_mean=error(means).tolist(),
            channel_std=(error(each) / (2 * each.mean(0).sqrt().clamp(min=1e-30))).tolist(),
        )
