"""What a prior says of the symbols of a pass, and how they are coded by it.

`FORMAT.md`, "Payload", step 1 and 2. Encoder and decoder make the same calls whenever they are
given the same distributions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ldm_ae.codec.format.coder import Decoder, Encoder, equally_likely
from ldm_ae.codec.priors.frequencies import NUM_EXPONENTS, excess_of, exponents_of, outside
from ldm_ae.codec.priors.tables import FrequencyTables
from ldm_ae.errors import UserError


class Distribution(Protocol):
    """Of n symbols, int64, in C order."""

    def choose(self, wanted: np.ndarray, lagrangian: float) -> np.ndarray:
        """The symbols (n,) to code for what is wanted, (n,)."""
        ...

    def put(self, encoder: Encoder, symbols: np.ndarray) -> None: ...

    def take(self, decoder: Decoder) -> np.ndarray:
        """The symbols. Raises UserError for bytes that cannot hold any."""
        ...

    def bits(self, symbols: np.ndarray) -> float:
        """Their cross-entropy: what a perfect coder would write."""
        ...


@dataclass(frozen=True)
class Signed:
    """Symbols of which the tables' rows (n,) hold the differences to the offsets (n,). What a row
    has no entry for is escaped. largest: the magnitude that no symbol may exceed."""

    tables: FrequencyTables
    rows: np.ndarray
    offsets: np.ndarray
    largest: int

    def choose(self, wanted: np.ndarray, lagrangian: float) -> np.ndarray:
        """Rate-distortion optimised quantisation (Sullivan 1996, "Efficient scalar quantization of
        exponential and Laplacian random variables"; Karczewicz et al. 2008, VCEG-AH21).

        wanted: float64 x, in steps. Of the nearest symbol and the one beside it that is nearer to
        the offset, the cheaper: J = (x - s)^2 + lambda bits(s).
        """
        nearest = np.rint(wanted)
        symbols = nearest.astype(np.int64)
        if lagrangian == 0:
            return symbols
        toward = np.sign(self.offsets - symbols)
        # (x - s - t)^2 - (x - s)^2, of which t is -1, 0 or 1.
        farther = 1 - 2 * toward * (wanted - nearest)
        return symbols + toward * (farther < lagrangian * self._saved(symbols, toward))

    def put(self, encoder: Encoder, symbols: np.ndarray) -> None:
        entries, excess = self._entries(symbols)
        for row, where in _groups(self.rows):
            encoder.put(self.tables.model(row), entries[where])
        if len(excess) == 0:
            return
        exponents = exponents_of(excess)
        encoder.put(equally_likely(NUM_EXPONENTS), exponents)
        for exponent, where in _groups(exponents):
            if exponent:
                rest = excess[where] + 1 - (1 << exponent)
                encoder.put(equally_likely(1 << exponent), rest)

    def take(self, decoder: Decoder) -> np.ndarray:
        symbols = np.empty(len(self.rows), dtype=np.int64)
        for row, where in _groups(self.rows):
            count = where.stop - where.start if isinstance(where, slice) else len(where)
            symbols[where] = decoder.take(self.tables.model(row), count)
        most = self.tables.most[self.rows]
        symbols -= most
        (escaped,) = np.nonzero(symbols > most)
        if len(escaped):
            symbols[escaped] = outside(_take_excess(decoder, len(escaped)), most[escaped])
        symbols += self.offsets
        if len(symbols) and max(-symbols.min(), symbols.max()) > self.largest:
            raise UserError(
                f"the payload is corrupt: a symbol lies outside -{self.largest}..{self.largest}"
            )
        return symbols

    def bits(self, symbols: np.ndarray) -> float:
        return float(self._bits(symbols).sum())

    def _bits(self, symbols: np.ndarray) -> np.ndarray:
        """Of each symbol, escapes included."""
        entries, excess = self._entries(symbols)
        bits = self.tables.bits[self.tables.starts[self.rows] + entries]
        bits[entries > 2 * self.tables.most[self.rows]] += 4 + exponents_of(excess)
        return bits

    def _entries(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Table entries (n,), and the excesses of those that are escaped."""
        values, most = symbols - self.offsets, self.tables.most[self.rows]
        entries = values + most
        (escaped,) = np.nonzero(np.abs(values) > most)
        entries[escaped] = 2 * most[escaped] + 1
        return entries, excess_of(values[escaped], most[escaped])

    def _saved(self, symbols: np.ndarray, toward: np.ndarray) -> np.ndarray:
        """Bits (n,) that each symbol costs more than the one beside it, towards the offset."""
        values = symbols - self.offsets
        places = self.tables.zeros[self.rows] + values
        (escaped,) = np.nonzero(np.abs(values) > self.tables.most[self.rows])
        if not len(escaped):
            return self.tables.saved[places]
        places[escaped] = 0
        saved, own = self.tables.saved[places], symbols[escaped]
        few = replace(self, rows=self.rows[escaped], offsets=self.offsets[escaped])
        saved[escaped] = few._bits(own) - few._bits(own + toward[escaped])
        return saved


@dataclass(frozen=True)
class Alike:
    """Code indices, `number` of them, all of one table's only row."""

    tables: FrequencyTables
    number: int

    def choose(self, wanted: np.ndarray, lagrangian: float) -> np.ndarray:
        return wanted

    def put(self, encoder: Encoder, symbols: np.ndarray) -> None:
        encoder.put(self.tables.model(0), symbols)

    def take(self, decoder: Decoder) -> np.ndarray:
        return decoder.take(self.tables.model(0), self.number)

    def bits(self, symbols: np.ndarray) -> float:
        return float(self.tables.bits[symbols].sum())


@dataclass(frozen=True)
class Apart:
    """Code indices, each with counts of its own: parts (n_i, K) in turn, so as to bound memory,
    each row with a sum of at most 2^24. They come once."""

    parts: Iterable[np.ndarray]

    def choose(self, wanted: np.ndarray, lagrangian: float) -> np.ndarray:
        return wanted

    def put(self, encoder: Encoder, symbols: np.ndarray) -> None:
        for counts, entries in self._with(symbols):
            encoder.put_each(counts, entries)

    def take(self, decoder: Decoder) -> np.ndarray:
        return np.concatenate([decoder.take_each(counts) for counts in self.parts])

    def bits(self, symbols: np.ndarray) -> float:
        total = 0.0
        for counts, entries in self._with(symbols):
            chosen = counts[np.arange(len(counts)), entries]
            total += float((np.log2(counts.sum(axis=1)) - np.log2(chosen)).sum())
        return total

    def _with(self, symbols: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each part with its symbols."""
        start = 0
        for counts in self.parts:
            yield counts, symbols[start : start + len(counts)]
            start += len(counts)
        assert start == len(symbols)


def _take_excess(decoder: Decoder, number: int) -> np.ndarray:
    exponents = decoder.take(equally_likely(NUM_EXPONENTS), number)
    excess = (1 << exponents.astype(np.int64)) - 1
    for exponent, where in _groups(exponents):
        if exponent:
            excess[where] += decoder.take(equally_likely(1 << exponent), len(excess[where]))
    return excess


def _groups(rows: np.ndarray) -> Iterator[tuple[int, slice | np.ndarray]]:
    """Each row that occurs, ascending, with the places where it does."""
    if len(rows) == 0:
        return
    order = None
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
    edges = [0, *(np.flatnonzero(rows[1:] != rows[:-1]) + 1).tolist(), len(rows)]
    for start, end in itertools.pairwise(edges):
        where = slice(start, end)
        yield int(rows[start]), where if order is None else order[where]
