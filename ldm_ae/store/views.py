"""Which crops of a picture are encoded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

from ldm_ae.data.images import to_array
from ldm_ae.data.randomness import VIEW, generator
from ldm_ae.data.transforms import cut
from ldm_ae.errors import UserError

Crop = Literal["centre", "random", "buckets"]


@dataclass(frozen=True)
class View:
    """One crop. pixels: uint8 (H, W, C). box: left, top, right, bottom in the upright picture of
    `original` (width, height). size: (W, H); the box was resampled to it where it has another."""

    pixels: np.ndarray
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    original: tuple[int, int]
    number: int
    flipped: bool

    @property
    def suffix(self) -> str:
        """What tells a picture's views apart in their ids: nothing for the first."""
        return f"#{self.number}" * (self.number > 0) + "#flipped" * self.flipped

    def without_pixels(self) -> View:
        return replace(self, pixels=np.empty(0, np.uint8))


@dataclass(frozen=True)
class Views:
    """crop: `centre`, the middle square, its side the picture's short one; `random`, `count`
    squares whose area is a uniform share in [min_scale, 1] of that, but whose side is not below
    `size` unless the picture's is; `buckets`, the largest crop in the middle of that shape among
    `shapes` which is nearest to the picture's.
    size: the side of squares; buckets have `size`^2 pixels at most, sides of multiples of
        `bucket_step`, and no side more than twice `size`.
    flip: also the mirror image of each.
    """

    crop: Crop = "centre"
    size: int = 256
    count: int = 1
    min_scale: float = 0.5
    flip: bool = False
    bucket_step: int = 64

    def __post_init__(self) -> None:
        if self.size < 1 or self.count < 1 or self.bucket_step < 1:
            raise UserError(
                f"size {self.size}, crops {self.count}, bucket step {self.bucket_step}: each must"
                " be at least 1"
            )
        if self.count > 1 and self.crop != "random":
            raise UserError(f"{self.count} crops of each picture need random ones, not {self.crop}")
        if not 0 < self.min_scale <= 1:
            raise UserError(f"min_scale={self.min_scale}: must be in (0, 1]")
        if self.crop == "buckets" and self.bucket_step > self.size:
            raise UserError(f"bucket step {self.bucket_step}: must not be above size {self.size}")

    def require_multiples(self, factor: int) -> None:
        """Raise UserError unless a model of this downsampling factor takes all crops."""
        side = self.bucket_step if self.crop == "buckets" else self.size
        if side % factor:
            name = "bucket step" if self.crop == "buckets" else "size"
            raise UserError(f"{name} {side}: the model takes multiples of {factor}")

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(width, height) of the buckets."""
        step, area = self.bucket_step, self.size**2
        sides = range(step, 2 * self.size + 1, step)
        widest = {(width, min(2 * self.size, area // width) // step * step) for width in sides}
        both = widest | {(height, width) for width, height in widest}
        return sorted(shape for shape in both if min(shape) >= max(step, self.size // 2))

    def of(self, image: Image.Image, key: str) -> Iterator[View]:
        """The views of a picture; `key` decides what is random."""
        for number in range(self.count):
            box, shape = self._box(image.size, key, number)
            view = cut(image, box, shape)
            yield View(to_array(view), shape, box, image.size, number, False)
            if self.flip:
                mirrored = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                yield View(to_array(mirrored), shape, box, image.size, number, True)

    def _box(
        self, original: tuple[int, int], key: str, number: int
    ) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """Where the crop lies, and the width and height that it gets."""
        short = min(original)
        if self.crop == "buckets":
            shape = self._bucket(original)
            scale = min(original[0] / shape[0], original[1] / shape[1])
            width, height = (
                max(1, min(o, round(s * scale))) for o, s in zip(original, shape, strict=True)
            )
            return _placed(original, width, height, 0.5, 0.5), shape
        side, left, top = short, 0.5, 0.5
        if self.crop == "random":
            seed = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
            share, left, top = generator(seed, VIEW, number).random(3)
            share = self.min_scale + (1 - self.min_scale) * share
            side = min(short, max(self.size, round(math.sqrt(share) * short)))
        return _placed(original, side, side, left, top), (self.size, self.size)

    def _bucket(self, original: tuple[int, int]) -> tuple[int, int]:
        aspect = math.log(original[0] / original[1])
        return min(self.shapes, key=lambda s: (abs(math.log(s[0] / s[1]) - aspect), -s[0] * s[1]))


def _placed(
    original: tuple[int, int], width: int, height: int, left: float, top: float
) -> tuple[int, int, int, int]:
    """A box of this size at relative offsets in [0, 1)."""
    x, y = int(left * (original[0] - width + 1)), int(top * (original[1] - height + 1))
    return x, y, x + width, y + height
