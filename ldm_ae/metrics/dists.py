"""DISTS: structure and texture of VGG16's features (Ding, Ma, Wang and Simoncelli 2020,
arXiv:2004.07728).

With x_ij channel j of level i, level 0 being the image itself, of mean mu and deviation sigma over
all positions, eq. 4 to 6:

    l = (2 mu_x mu_y + c1) / (mu_x^2 + mu_y^2 + c1)
    s = (2 sigma_xy + c2) / (sigma_x^2 + sigma_y^2 + c2)
    D(x, y) = 1 - sum_ij (alpha_ij l(x_ij, y_ij) + beta_ij s(x_ij, y_ij))

Max pooling gives way to P(x) = sqrt(g * x^2) with a Hann window g (eq. 1), which does not alias.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.data.images import to_float
from ldm_ae.installed import MissingExtraError
from ldm_ae.losses.perceptual import to_rgb
from ldm_ae.metrics.judges import Networks

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each level; a pooling before each but the first
CHANNELS = (3, 64, 128, 256, 512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the RGB that VGG16 was trained on
C1 = C2 = 1e-6


class Level(NamedTuple):
    """Features (B, C, H, W) less their mean; their mean and variance over positions (B, C)."""

    centred: Tensor
    mean: Tensor
    variance: Tensor


class DISTS:
    """A `Judge`. alpha, beta: per level (C_l,), of sum 1 together."""

    def __init__(
        self, convolutions: list[nn.Conv2d], alpha: tuple[Tensor, ...], beta: tuple[Tensor, ...]
    ) -> None:
        self.convolutions, self.alpha, self.beta = convolutions, alpha, beta

    def see(self, pixels: Tensor) -> list[Level]:
        image = (to_rgb(to_float(pixels)) + 1) / 2  # (B, 3, H, W) in [0, 1]
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        features = (image - mean) / std
        levels, remaining = [_level(image)], iter(self.convolutions)
        for number, count in enumerate(CONVOLUTIONS):
            features = features if number == 0 else _pool(features)
            for _ in range(count):
                features = F.relu_(next(remaining)(features))
            levels.append(_level(features))
        return levels

    def compare(self, original: list[Level], other: list[Level]) -> Tensor:
        similarity = torch.zeros((), device=original[0].mean.device)
        for x, y, alpha, beta in zip(original, other, self.alpha, self.beta, strict=True):
            covariance = (x.centred * y.centred).mean((2, 3))
            texture = (2 * x.mean * y.mean + C1) / (x.mean**2 + y.mean**2 + C1)
            structure = (2 * covariance + C2) / (x.variance + y.variance + C2)
            similarity = similarity + texture @ alpha + structure @ beta
        return 1 - similarity


def open_dists(networks: Networks) -> DISTS:
    """On the VGG16 of LPIPS-vgg. Raises UserError if that is not there, ImportError without the
    package that has alpha and beta."""
    vgg = networks.perceptual("vgg").network.net
    convolutions = [module for module in vgg.modules() if isinstance(module, nn.Conv2d)]
    state = torch.load(_package() / "weights.pt", map_location=networks.device, weights_only=True)
    alpha, beta = state["alpha"].flatten(), state["beta"].flatten()
    total = alpha.sum() + beta.sum()
    return DISTS(convolutions, (alpha / total).split(CHANNELS), (beta / total).split(CHANNELS))


def _package() -> Path:
    """The folder of dists-pytorch, which is not imported: only its weights are read."""
    spec = find_spec("DISTS_pytorch")
    if spec is None or spec.origin is None:
        raise MissingExtraError('dists-pytorch not installed: pip install "ldm-ae[bench]"')
    return Path(spec.origin).parent


def _level(features: Tensor) -> Level:
    mean = features.mean((2, 3), keepdim=True)
    centred = features - mean
    return Level(centred, mean[..., 0, 0], centred.square().mean((2, 3)))


def _pool(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)): the root of a weighted mean of squares."""
    channels = features.shape[1]
    window = features.new_tensor([0.25, 0.5, 0.25])  # Hann's, its zeros left out
    kernel = torch.outer(window, window).expand(channels, 1, 3, 3)
    squares = F.conv2d(features.square(), kernel, stride=2, padding=1, groups=channels)
    return (squares + 1e-12).sqrt()
