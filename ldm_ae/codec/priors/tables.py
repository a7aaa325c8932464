"""Integer frequency tables: what the entropy coder takes its probabilities from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ldm_ae.codec.format.coder import Model, model_of
from ldm_ae.codec.priors.frequencies import LARGEST_TOTAL
from ldm_ae.errors import UserError

_LEAST_TOTAL = 1 << 4


@dataclass(frozen=True)
class FrequencyTables:
    """Rows of positive integers, one row a distribution, its sum a power of two up to 2^24.

    counts: int64, all rows one after another. widths: int64 (R,), entries of each row.

    A row for signed symbols has 2 M + 2 entries: the symbols -M..M, then the escape for whatever
    lies outside. A row for code indices has one entry per code and no escape.
    """

    counts: np.ndarray
    widths: np.ndarray
    _models: dict[int, Model] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UserError for tables that are not as described above."""
        counts, widths = self.counts, self.widths
        if counts.ndim != 1 or widths.ndim != 1 or len(widths) == 0:
            raise UserError("frequency tables: counts and widths must be lists, not empty")
        if counts.dtype != np.int64 or widths.dtype != np.int64:
            raise UserError("frequency tables: counts and widths must be int64")
        # Bounds before sums, which huge widths could overflow.
        if widths.min() < 2 or widths.max() > len(counts) or widths.sum() != len(counts):
            raise UserError("frequency tables: widths do not add up to the number of counts")
        if counts.min() < 1 or counts.max() > LARGEST_TOTAL:
            raise UserError(f"frequency tables: counts must lie in 1..{LARGEST_TOTAL}")
        powers = (self.totals & (self.totals - 1)) == 0
        if not (powers & (self.totals >= _LEAST_TOTAL) & (self.totals <= LARGEST_TOTAL)).all():
            raise UserError(
                f"frequency tables: each row must sum to a power of two in"
                f" {_LEAST_TOTAL}..{LARGEST_TOTAL}"
            )

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> FrequencyTables:
        """From one integer array per row."""
        widths = np.array([len(row) for row in rows], dtype=np.int64)
        return cls(np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]), widths)

    def __len__(self) -> int:
        return len(self.widths)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each row begins in `counts`."""
        return np.concatenate([[0], np.cumsum(self.widths)[:-1]])

    @cached_property
    def totals(self) -> np.ndarray:
        return np.add.reduceat(self.counts, self.starts)

    @cached_property
    def most(self) -> np.ndarray:
        """M of each row of signed symbols."""
        return (self.widths - 2) // 2

    @cached_property
    def bits(self) -> np.ndarray:
        """-log2 p of each entry, in the order of `counts`. For the encoder's choices and for
        reports; floats that decide nothing in a decoder."""
        return np.repeat(np.log2(self.totals), self.widths) - np.log2(self.counts)

    @cached_property
    def zeros(self) -> np.ndarray:
        """Where the count of 0 is in each row of signed symbols."""
        return self.starts + self.most

    @cached_property
    def saved(self) -> np.ndarray:
        """How many bits each signed symbol costs more than its neighbour nearer to 0. (What stands
        for an escape is without meaning, since it depends on the symbol.)"""
        places = np.arange(len(self.counts))
        return self.bits - self.bits[places - np.sign(places - np.repeat(self.zeros, self.widths))]

    def row(self, index: int) -> np.ndarray:
        return self.counts[self.starts[index] :][: self.widths[index]]

    def model(self, index: int) -> Model:
        """The coder's form of a row, made once."""
        if index not in self._models:
            self._models[index] = model_of(self.row(index))
        return self._models[index]

    def require_signed(self, number: int) -> None:
        """Raise UserError unless there are so many rows, and each can hold -M..M and an escape."""
        if len(self) != number:
            raise UserError(f"frequency tables: {len(self)} rows, expected {number}")
        if (self.widths % 2).any():
            raise UserError("frequency tables: rows of signed symbols have 2 M + 2 entries")

    def require_only(self) -> None:
        """Raise UserError unless there is one row, an entry for each code."""
        if len(self) != 1:
            raise UserError(f"frequency tables: {len(self)} rows, expected one of all codes")
