"""What a loader hands to training, and the record of what it had to skip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

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
    cut: names of images whose files hold further frames or pages, which are not used
    """

    images: Tensor
    keys: Tensor
    names: list[str]
    skipped: list[str]
    cut: list[str] = field(default_factory=list)

    def to(self, device: torch.device | str) -> Batch:
        return replace(self, images=self.images.to(device), keys=self.keys.to(device))


class SkipLog:
    """Counts what could not be used, and lets each such image be named once."""

    def __init__(self) -> None:
        self.num_replaced = 0
        self._named: set[str] = set()
        self._cut: set[str] = set()

    @property
    def num_images(self) -> int:
        """How many different images were skipped so far."""
        return len(self._named)

    def add(self, batches: Iterable[Batch]) -> list[str]:
        """Count what these had to leave out; returns the skipped that were not named before, in
        order."""
        fresh = []
        for batch in batches:
            self._cut |= set(batch.cut)
            for line in batch.skipped:
                self.num_replaced += 1
                if line not in self._named:
                    self._named.add(line)
                    fresh.append(line)
        return fresh

    def summary(self) -> str:
        """One line of counts, or nothing."""
        parts = []
        if self._named:
            parts.append(f"{len(self._named)} images could not be used and were replaced")
        if self._cut:
            parts.append(f"of {len(self._cut)} files only the first frame or page was used")
        return "; ".join(parts)
