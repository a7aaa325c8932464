"""LDR-FLIP: what an eye sees alternate when it flips between two pictures (Andersson et al. 2020).

The flip-evaluator package computes it, NVIDIA's own C++; at 67 pixels a degree, its default: a
monitor of 0.7 m and 3840 pixels seen from 0.7 m.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldm_ae.data.images import to_float
from ldm_ae.installed import MissingExtraError
from ldm_ae.losses.perceptual import to_rgb
from ldm_ae.metrics.judges import Networks

Pictures = list[NDArray[np.float32]]


class FLIP:
    """A `Judge`; it computes on the CPU, wherever the images are."""

    def see(self, pixels: Tensor) -> Pictures:
        images = (to_rgb(to_float(pixels)) + 1) / 2  # (B, 3, H, W) in [0, 1]
        return list(images.permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def compare(self, original: Pictures, other: Pictures) -> Tensor:
        import flip_evaluator

        means = [
            flip_evaluator.evaluate(x, y, "LDR", applyMagma=False)[1]
            for x, y in zip(original, other, strict=True)
        ]
        return torch.tensor(means, dtype=torch.float64)


def open_flip(_: Networks) -> FLIP:
    """Raises ImportError without the package."""
    try:
        import flip_evaluator  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            'flip-evaluator not installed: pip install "ldm-ae[bench]"'
        ) from error
    return FLIP()
