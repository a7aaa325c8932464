"""Texture as a term to train with: local moments of a perceptual network's features.

After the Wasserstein distortion (Qiu et al. 2024, arXiv:2310.03629, eq. 6): two patches of texture
look the same when features have the same mean and the same deviation there, wherever each stroke
lies. For windows half over one another, with means m and deviations s of both sides,

    d = sum over levels of mean((m - m')^2 + (s - s')^2) / mean(f'^2)

It is a substitute and not that distortion: windows are boxes of one size in each level, and levels
weigh the same, by the power of the image's own features f'.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Each value counts in four windows. One at every position takes three times as long and weighs the
# values inside no differently.
_WINDOW, _STRIDE = 6, 3
_LEAST_VARIANCE = 1e-6  # below it the deviation's gradient would grow without bound


def texture_distance(output: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
    """Features of both sides, per level (B, C_l, H_l, W_l) -> a scalar, the mean over levels and
    images. No gradient goes to the images' side."""
    levels = [_level(a, b.detach()) for a, b in zip(output, images, strict=True)]
    return torch.stack(levels).mean()


def _level(output: Tensor, image: Tensor) -> Tensor:
    mean_a, deviation_a = _local_moments(output)
    mean_b, deviation_b = _local_moments(image)
    distance = F.mse_loss(mean_a, mean_b) + F.mse_loss(deviation_a, deviation_b)
    return distance / image.square().mean().clamp_min(_LEAST_VARIANCE)


def _local_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the windows that lie inside, or of the whole if none does."""
    window = [min(_WINDOW, side) for side in features.shape[2:]]
    mean = F.avg_pool2d(features, window, _STRIDE)
    variance = F.avg_pool2d(features.square(), window, _STRIDE) - mean.square()
    return mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()
