"""What a benchmark measures: a coder, which turns pixels into bytes and bytes into pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB


@dataclass(frozen=True)
class Point:
    """How a coder is set. variant: "" where there is only one."""

    variant: str
    quality: float


class Coder(Protocol):
    """Pixels to a file and back.

    name: of the curve. points: where it is measured. qualities: all that can be asked for, from
    the smallest file to the largest; a search for a size is among them. identity: everything,
    apart from the point, that decides the file's bytes.
    """

    @property
    def name(self) -> str: ...

    @property
    def points(self) -> Sequence[Point]: ...

    @property
    def qualities(self) -> Sequence[float]: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def encode(self, pixels: Pixels, point: Point) -> bytes: ...

    def decode(self, file: bytes, point: Point) -> Pixels: ...


def finest_within(coder: Coder, pixels: Pixels, limit: int) -> tuple[bytes, Point]:
    """The file of the highest quality of at most `limit` bytes, in the coder's first variant; the
    smallest one if that is larger.

    By bisection: sizes grow with quality but for a few bytes.
    """
    points = [Point(coder.points[0].variant, quality) for quality in coder.qualities]
    best = coder.encode(pixels, points[0]), points[0]
    low, high = 1, len(points) - 1
    while low <= high and len(best[0]) <= limit:
        middle = (low + high) // 2
        file = coder.encode(pixels, points[middle])
        if len(file) <= limit:
            best, low = (file, points[middle]), middle + 1
        else:
            high = middle - 1
    return best
