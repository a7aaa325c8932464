"""constriction's range coder in plain integers, for machines without it; decodes 17 times slower.

The same names, the same bytes: `coder` takes them where constriction, which has no wheels for
Linux on ARM, cannot be imported. `FORMAT.md` has the arithmetic.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from ldm_ae.errors import UserError

PRECISION = 24  # bits of a probability
WORD = 1 << 32
STATE = 1 << 64

Bounds = list[int]  # where the m entries begin in [0, 2^24), and 2^24


class Categorical:
    """Entries in [0, m), probable as their weights, float64 (m,), say; none impossible."""

    def __init__(self, weights: np.ndarray | None = None, perfect: bool = False) -> None:
        self.bounds: Bounds = [] if weights is None else bounds_of(weights[None])[0]


class Uniform:
    """Entries in [0, size), equally likely; size a power of two."""

    def __init__(self, size: int) -> None:
        self.bounds = [(place << PRECISION) // size for place in range(size + 1)]


def bounds_of(weights: np.ndarray) -> list[Bounds]:
    """Of each row of float64 (n, m)."""
    size = weights.shape[1]
    before = np.cumsum(weights, axis=1) - weights
    scale = ((1 << PRECISION) - size) / weights.sum(axis=1, keepdims=True)
    bounds = (before * scale).astype(np.int64) + np.arange(size)
    end = np.full((len(weights), 1), 1 << PRECISION)
    rows: list[Bounds] = np.concatenate([bounds, end], axis=1).tolist()
    return rows


class RangeEncoder:
    """The interval [lower, lower + range) of 64 bits behind the words that are settled."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._lower, self._range = 0, STATE - 1

    def encode(
        self, entries: np.ndarray, model: Categorical | Uniform, weights: np.ndarray | None = None
    ) -> None:
        each = [model.bounds] * len(entries) if weights is None else bounds_of(weights)
        for place, bounds in zip(entries.tolist(), each, strict=True):
            scale = self._range >> PRECISION
            self._lower += scale * bounds[place]
            self._range = scale * (bounds[place + 1] - bounds[place])
            if self._lower >= STATE:
                self._lower -= STATE
                _carry(self._words)
            if self._range < WORD:
                self._words.append(self._lower >> 32)
                self._lower = self._lower * WORD % STATE
                self._range *= WORD

    def get_compressed(self) -> np.ndarray:
        """uint32: the words, and one or two that name a point of the interval."""
        words = list(self._words)
        if self._range < STATE - 1:
            point = self._lower + WORD - 1
            if point >= STATE:
                point -= STATE
                _carry(words)
            words.append(point >> 32)
            if (self._lower + self._range) % STATE >> 32 == point >> 32:
                words.append(0)
        return np.array(words, dtype=np.uint32)


class RangeDecoder:
    def __init__(self, words: np.ndarray) -> None:
        self._words: list[int] = words.tolist()
        self._read = 0
        self._lower, self._range = 0, STATE - 1
        self._point = self._word() * WORD + self._word()

    def decode(self, model: Categorical | Uniform, argument: int | np.ndarray) -> np.ndarray:
        """argument: how many entries, or the weights (n, m) of each. Raises UserError for bytes
        that no encoder writes."""
        each = [model.bounds] * argument if isinstance(argument, int) else bounds_of(argument)
        return np.fromiter(self._entries(each), dtype=np.int32, count=len(each))

    def _entries(self, each: list[Bounds]) -> Iterator[int]:
        for bounds in each:
            scale = self._range >> PRECISION
            quantile = (self._point - self._lower) % STATE // scale
            if quantile >> PRECISION:
                raise UserError("the payload is corrupt")
            place = bisect_right(bounds, quantile) - 1
            self._lower = (self._lower + scale * bounds[place]) % STATE
            self._range = scale * (bounds[place + 1] - bounds[place])
            if self._range < WORD:
                self._lower = self._lower * WORD % STATE
                self._range *= WORD
                self._point = self._point * WORD % STATE + self._word()
            yield place

    def _word(self) -> int:
        self._read += 1
        return self._words[self._read - 1] if self._read <= len(self._words) else 0

    def maybe_exhausted(self) -> bool:
        """Whether an encoder might have ended here."""
        if self._read < len(self._words):
            return False
        return self._range == STATE - 1 or (self._point - self._lower) % STATE < 2 * WORD - 1


def _carry(words: list[int]) -> None:
    """Add one to the words, taken as one number."""
    place = len(words) - 1
    while words[place] == WORD - 1:
        words[place] = 0
        place -= 1
    words[place] += 1
