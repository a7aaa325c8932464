"""SSIMULACRA 2, version 2.1: structure and edges in six scales of a perceptual colour space.

Defined by its C++ source, https://github.com/cloudinary/ssimulacra2 (Sneyers 2022). 100 is equal,
90 a difference hardly seen; 70, 50 and 30 are high, medium and low quality.

At each scale of an image x and what became of it, y, in XYB, with m the blurred mean, v and k the
blurred variance and covariance:

    d = max(0, 1 - (1 - (m_x - m_y)^2) (2 k_xy + c) / (v_x + v_y + c))
    e = (1 + |y - m_y|) / (1 + |x - m_x|) - 1

d, the positive part of e (artefacts) and its negative part (lost detail) are averaged by their mean
and by the fourth root of the mean of fourth powers; the score is a polynomial of a weighted sum.

What lies beyond the border is 0 in the C++ source and here, and at the coarse scales a third of the
picture is near the border. The Python package ssimulacra2 0.3 mirrors it to the left and right: up
to 10 points lower on photos of 200 to 300 pixels, 0.1 to 3 on one of Kodak.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.losses.perceptual import to_rgb

NUM_SCALES = 6
LEAST_SIDE = 8  # of a scale, if there is to be one after it
MIN_SIDE = 113  # the least that has all six
C2 = 0.0009
SIGMA, RADIUS = 1.5, 5

# libjxl's XYB: linear RGB to the responses of three cones, their cube roots, opponent colours.
CONES = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
BIAS = 0.0037930732552754493
# Of X, Y and B, per scale: (d, artefacts, lost detail) of the means, then of the fourth norms; to
# nine digits.
WEIGHTS = (
    (
        (0.0, 0.000737660671, 0.0, 0.0, 0.000779348168, 0.0),
        (0.0, 0.000437115573, 0.0, 1.10417264, 0.000662848341, 0.000152316328),
        (0.0, 0.00164064375, 0.0, 1.84224555, 11.4411726, 0.0),
        (0.000798910944, 0.000176816438, 0.0, 1.8787595, 10.9490699, 0.0),
        (0.000728934699, 0.967793708, 0.0, 0.000140034243, 0.998176698, 0.000319497559),
        (0.000455099211, 0.0, 0.0, 0.00136487662, 0.0, 0.0),
    ),
    (
        (0.0, 0.0, 0.0, 7.46689033, 0.0, 17.445834),
        (0.000623560163, 0.0, 0.0, 6.68367815, 0.00037724408, 1.02788994),
        (225.205153, 0.0, 0.0, 19.2132382, 0.00114015246, 0.00123775564),
        (176.393176, 0.0, 0.0, 24.43301, 0.285208026, 0.000448543692),
        (0.0, 0.0, 0.0, 34.7790634, 44.8356253, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    (
        (0.0, 0.000868055657, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.000531319187, 0.0, 0.000165338142, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.00041791718, 0.00172908282, 0.0),
        (0.00208270058, 0.0, 0.0, 8.82698276, 23.1924334, 0.0),
        (95.1080499, 0.986397803, 0.983438279, 0.0012286405, 171.266726, 0.980785887),
        (0.0, 0.0, 0.0, 0.000513006459, 0.0, 0.000108540579),
    ),
)  # fmt: skip


class Scale(NamedTuple):
    """XYB (B, 3, h, w), made positive; its blurred mean and its blurred square."""

    image: Tensor
    mean: Tensor
    square: Tensor


class SSIMULACRA2:
    """A `Judge`."""

    def see(self, pixels: Tensor) -> list[Scale]:
        linear = _linear(to_uint8(to_rgb(to_float(pixels))))
        scales: list[Scale] = []
        while len(scales) < NUM_SCALES and min(linear.shape[2:]) >= LEAST_SIDE:
            if scales:
                height, width = linear.shape[2:]
                padded = F.pad(linear, (0, width % 2, 0, height % 2), mode="replicate")
                linear = F.avg_pool2d(padded, 2)
            image = _xyb(linear)
            scales.append(Scale(image, *_blur(torch.cat([image, image.square()], 1)).chunk(2, 1)))
        return scales

    def compare(self, original: list[Scale], other: list[Scale]) -> Tensor:
        terms = [_terms(x, y) for x, y in zip(original, other, strict=True)]
        values = torch.stack(terms, dim=2)  # (B, 3 channels, scales, 6)
        weights = values.new_tensor(WEIGHTS)[:, : len(terms)]
        s = 0.9562382616834844 * (values * weights).sum((1, 2, 3))
        s = 2.326765642916932 * s - 0.020884521182843837 * s**2 + 6.248496625763138e-05 * s**3
        return 100 - 10 * s.clamp_min(0) ** 0.6276336467831387


def _terms(x: Scale, y: Scale) -> Tensor:
    """(B, 3, 6): per channel the means of d, artefacts and lost detail, and their fourth norms."""
    covariance = _blur(x.image * y.image) - x.mean * y.mean
    variances = (x.square - x.mean**2) + (y.square - y.mean**2)
    luminance = 1 - (x.mean - y.mean) ** 2
    d = (1 - luminance * (2 * covariance + C2) / (variances + C2)).clamp_min(0)
    edges = (1 + (y.image - y.mean).abs()) / (1 + (x.image - x.mean).abs()) - 1
    maps = (d, edges.clamp_min(0), (-edges).clamp_min(0))
    means = [image.mean((2, 3), dtype=torch.float64) for image in maps]
    norms = [image.pow(4).mean((2, 3), dtype=torch.float64) ** 0.25 for image in maps]
    return torch.stack([*means, *norms], dim=2)


def _linear(pixels: Tensor) -> Tensor:
    """sRGB pixels, uint8 => linear light, float32 in [0, 1]."""
    v = torch.arange(256, dtype=torch.float64) / 255
    table = torch.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return table.float().to(pixels.device)[pixels.long()]


def _xyb(linear: Tensor) -> Tensor:
    """Linear RGB (B, 3, h, w) => X, Y, B, moved and stretched to be positive."""
    cones = torch.einsum("ij,bjhw->bihw", linear.new_tensor(CONES), linear)
    first, second, third = ((cones + BIAS).clamp_min(0) ** (1 / 3) - BIAS ** (1 / 3)).unbind(1)
    x, y = (first - second) / 2, (first + second) / 2
    return torch.stack([14 * x + 0.42, y + 0.01, third - y + 0.55], dim=1)


def _blur(images: Tensor) -> Tensor:
    """(B, C, h, w) -> the same, Gaussian-weighted means; beyond the borders it is 0."""
    channels = images.shape[1]
    row = images.new_tensor(TAPS).expand(channels, 1, 1, -1)
    blurred = F.conv2d(images, row, padding="same", groups=channels)
    return F.conv2d(blurred, row.transpose(2, 3), padding="same", groups=channels)


def _cosine_taps(sigma: float, radius: int) -> list[float]:
    """The finite impulse response of libjxl's recursive Gaussian (Charalampidis 2016).

    Three cosines that are 0 at +-radius, h(n) = sum_k b_k cos(w_k n) with w_k = k pi / (2 radius),
    k = 1, 3, 5. Of all b that give h the sum 1 and the variance sigma^2, those nearest to the
    Gaussian's own, exp(-(sigma w_k)^2 / 2) / radius.
    """
    w = np.array([1, 3, 5]) * math.pi / (2 * radius)
    n = np.arange(1 - radius, radius)
    cosines = np.cos(np.outer(w, n))  # (3, taps)
    constraints = np.stack([cosines.sum(1), cosines @ n**2])
    b = np.exp(-((sigma * w) ** 2) / 2) / radius
    b += np.linalg.pinv(constraints) @ (np.array([1, sigma**2]) - constraints @ b)
    taps: list[float] = (b @ cosines).tolist()
    return taps


TAPS = _cosine_taps(SIGMA, RADIUS)
