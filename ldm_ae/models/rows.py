"""Images and activations that are read and written a few rows at a time."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ldm_ae.models.memory import Storage


class Rows(Protocol):
    """An image, or an activation, of shape (1, C, H, W), from wherever it comes."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom, (1, C, bottom - top, W); not to be written to."""
        ...


class TensorRows:
    """Of a tensor (1, C, H, W)."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    @property
    def shape(self) -> tuple[int, int, int, int]:
        _, channels, height, width = self._values.shape
        return 1, channels, height, width

    def read(self, top: int, bottom: int) -> Tensor:
        return self._values[:, :, top:bottom]


class Activation:
    """One that is written from top to bottom, and knows its channels' moments by then. A row is
    stored as (W, C): strips are channels-last."""

    def __init__(self, storage: Storage, channels: int, height: int, width: int) -> None:
        self.storage, self.moments = storage, Moments()
        self.shape = (1, channels, height, width)

    def read(self, top: int, bottom: int) -> Tensor:
        _, channels, _, width = self.shape
        row = width * channels
        flat = self.storage.read(top * row, bottom * row)
        return flat.view(1, bottom - top, width, channels).permute(0, 3, 1, 2)

    def write(self, top: int, rows: Tensor) -> None:
        flat = rows.permute(0, 2, 3, 1).reshape(-1, self.shape[1])
        self.moments.add(flat)
        self.storage.write(top * self.shape[3] * self.shape[1], flat.flatten())


class Moments:
    """Mean and variance of each channel of all that was added, merged in fp64 (Chan, Golub and
    LeVeque 1983, eq. 2.1)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """values: (n, C)."""
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        count, mean = len(values), values.mean(0)
        squares = (values - mean).square_().sum(0).cpu().double()
        shift = mean.cpu().double() - self._mean
        total = self._count + count
        self._squares = self._squares + squares + shift.square() * (self._count * count / total)
        self._mean = self._mean + shift * (count / total)
        self._count = total

    def of_groups(self, num_groups: int) -> tuple[Tensor, Tensor]:
        """Mean and variance, (C,) each, that a GroupNorm takes off and divides by: those of each
        channel's group."""
        means = self._mean.view(num_groups, -1)
        variances = (self._squares / self._count).view(num_groups, -1).mean(1)
        variances = variances + means.var(1, correction=0)
        width = means.shape[1]
        return means.mean(1).repeat_interleave(width), variances.repeat_interleave(width)
