"""A picture's pixels as a model takes them, a few rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ldm_ae.data.images import to_float


class PictureRows:
    """uint8 (H, W, C) as images (1, model's channels, H', W') in [-1, 1]: its last row and column
    are repeated up to multiples of f, and grey becomes equal channels."""

    def __init__(
        self, pixels: np.ndarray, channels: int, factor: int, device: torch.device
    ) -> None:
        self._pixels, self._device = pixels, device
        height, width, given = pixels.shape
        self._repeats = channels // given
        self.shape = (1, channels, height + -height % factor, width + -width % factor)

    def read(self, top: int, bottom: int) -> Tensor:
        height, width, _ = self._pixels.shape
        rows = np.arange(top, bottom).clip(max=height - 1)
        columns = np.arange(self.shape[3]).clip(max=width - 1)
        pixels = self._pixels[rows[:, None], columns]
        return to_float(np.repeat(pixels, self._repeats, axis=2)).to(self._device)
