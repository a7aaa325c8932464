"""Integer frequency tables: what the entropy coder takes its probabilities from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import constriction
import numpy as np

Categorical = constriction.stream.model.Categorical

TOTAL = 1 << 16  # what the fitted tables of latents sum to
_MIN_TOTAL, _MAX_TOTAL = 1 << 4, 1 << 24


@dataclass(frozen=True)
class FrequencyTables:
    """Rows of positive integers, one row a distribution, its sum a power of two up to 2^24.

    counts: int64, all rows one after another. widths: int64 (R,), entries of each row.

    A row for signed symbols has 2 M + 2 entries: the symbols -M..M, then the escape for whatever
    lies outside. A row for code indices has one entry per code and no escape.
    """

    counts: np.ndarray
    widths: np.ndarray
    _starts: np.ndarray = field(init=False, repr=False, compare=False)
    _models: dict[int, object] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for tables that are not as described above."""
        counts, widths = self.counts, self.widths
        if counts.ndim != 1 or widths.ndim != 1 or len(widths) == 0:
            raise ValueError("frequency tables: counts and widths must be lists, not empty")
        if counts.dtype != np.int64 or widths.dtype != np.int64:
            raise ValueError("frequency tables: counts and widths must be int64")
        # Bounds before sums, which huge widths could overflow.
        if widths.min() < 2 or widths.max() > len(counts) or widths.sum() != len(counts):
            raise ValueError("frequency tables: widths do not add up to the number of counts")
        if counts.min() < 1 or counts.max() > _MAX_TOTAL:
            raise ValueError(f"frequency tables: counts must lie in 1..{_MAX_TOTAL}")
        starts = np.concatenate([[0], np.cumsum(widths)[:-1]])
        totals = np.add.reduceat(counts, starts)
        powers = (totals & (totals - 1)) == 0
        if not (powers & (totals >= _MIN_TOTAL) & (totals <= _MAX_TOTAL)).all():
            raise ValueError(
                f"frequency tables: each row must sum to a power of two in"
                f" {_MIN_TOTAL}..{_MAX_TOTAL}"
            )
        object.__setattr__(self, "_starts", starts)

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> FrequencyTables:
        """From one integer array per row."""
        widths = np.array([len(row) for row in rows], dtype=np.int64)
        return cls(np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]), widths)

    def __len__(self) -> int:
        return len(self.widths)

    def row(self, index: int) -> np.ndarray:
        start = self._starts[index]
        return self.counts[start : start + self.widths[index]]

    def most(self, index: int) -> int:
        """M of a row of signed symbols."""
        return int(self.widths[index] - 2) // 2

    def model(self, index: int) -> object:
        """The coder's form of a row, made once. Sums of these integers are exact in float64, so
        the coder arrives at the same integer bounds everywhere."""
        if index not in self._models:
            self._models[index] = Categorical(self.row(index).astype(np.float64), perfect=False)
        return self._models[index]

    def require_signed(self) -> None:
        """Raise ValueError unless every row can hold -M..M and an escape."""
        if (self.widths % 2).any():
            raise ValueError("frequency tables: rows of signed symbols have 2 M + 2 entries")

    def bits(self, rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """-log2 p (n,) of entries (n,) of rows (n,), the escapes' tails apart. For the encoder's
        choices and for reports; floats that decide nothing in a decoder."""
        totals = np.add.reduceat(self.counts, self._starts)
        found = self.counts[self._starts[rows] + entries]
        return np.log2(totals[rows]) - np.log2(found)


def integer_counts(weights: np.ndarray, total: int = TOTAL) -> np.ndarray:
    """Nonnegative weights (n,) => int64 counts of at least 1 that sum to `total`, as near to
    proportional as that allows. For fitting: it rounds floats."""
    if len(weights) > total // 2:
        raise ValueError(f"{len(weights)} entries do not fit a table that sums to {total}")
    shares = weights / weights.sum() * (total - len(weights))
    counts = np.floor(shares).astype(np.int64) + 1
    missing = total - int(counts.sum())
    largest = np.argsort(np.floor(shares) - shares, kind="stable")[:missing]
    counts[largest] += 1
    return counts
