"""What a loader hands to training, and the record of what it had to skip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch.

    images: float32 (B, C, H, W) in [-1, 1]
    keys: int64 (B,), the images' positions in the whole run (images seen before each); noise
        that is keyed by them is the same however ranks and batches are cut
    names: of the files or rows the images come from
    skipped: "name: reason" of images that could not be used and were replaced
    """

    images: Tensor
    keys: Tensor
    names: list[str]
    skipped: list[str]

    def to(self, device: torch.device | str) -> Batch:
        return replace(self, images=self.images.to(device), keys=self.keys.to(device))


class SkipLog:
    """Counts replacements and lets each skipped image be named once."""

    def __init__(self) -> None:
        self.num_replaced = 0
        self._named: set[str] = set()

    @property
    def num_images(self) -> int:
        """How many different images were skipped so far."""
        return len(self._named)

    def add(self, skipped: Iterable[str]) -> list[str]:
        """Count these and return those that were not named before, in order."""
        fresh = []
        for line in skipped:
            self.num_replaced += 1
            if line not in self._named:
                self._named.add(line)
                fresh.append(line)
        return fresh
