"""The simplest priors: one distribution per channel and quality, or one for all code indices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ldm_ae.codec.format.ladder import NUM_QUALITIES, largest_symbol
from ldm_ae.codec.priors.arrays import Arrays
from ldm_ae.codec.priors.base import EVERYTHING, Place, Prior, scale_of, tables_of
from ldm_ae.codec.priors.distributions import Alike, Signed


@dataclass(frozen=True)
class FactorisedPrior(Prior):
    """One distribution per channel and quality; row = channel * 64 + quality."""

    name: ClassVar[str] = "factorised"

    def __post_init__(self) -> None:
        self.tables.require_signed(self.num_channels * NUM_QUALITIES)

    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Signed]]:
        rows = np.repeat(np.arange(len(symbols)) * NUM_QUALITIES + quality, symbols[0].size)
        offsets = np.zeros(symbols.size, dtype=np.int64)
        yield EVERYTHING, Signed(self.tables, rows, offsets, largest_symbol(quality))

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> FactorisedPrior:
        return cls(tables_of(arrays), scale=scale_of(arrays))


@dataclass(frozen=True)
class IndexCounts(Prior):
    """The same distribution for every index."""

    name: ClassVar[str] = "index counts"

    def __post_init__(self) -> None:
        self.tables.require_only()

    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Alike]]:
        yield EVERYTHING, Alike(self.tables, symbols.size)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> IndexCounts:
        return cls(tables_of(arrays))
