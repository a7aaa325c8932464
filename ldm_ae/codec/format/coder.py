"""Range coding of many symbols at once, grouped by the row of the table they are coded with.

constriction's range coder (Martin 1979) does the coding, one call per row that occurs. Within a
call symbols keep their order; rows go in ascending order. Encoder and decoder therefore make the
same calls whenever they are given the same rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import constriction
import numpy as np

from ldm_ae.codec.format.tables import Categorical, FrequencyTables

Uniform = constriction.stream.model.Uniform

# An escaped symbol is an exponent 0..15 and as many bits: excesses up to 2^16 - 2.
_NUM_EXPONENTS = 16
_MAX_EXCESS = (1 << _NUM_EXPONENTS) - 2


class SymbolEncoder:
    """Collects symbols; `finish` returns the bytes."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(self, tables: FrequencyTables, rows: np.ndarray, entries: np.ndarray) -> None:
        """Code entries (n,) of the tables' rows (n,)."""
        entries = entries.astype(np.int32)
        for row, where in _groups(rows):
            self._coder.encode(np.ascontiguousarray(entries[where]), tables.model(row))

    def put_signed(self, tables: FrequencyTables, rows: np.ndarray, values: np.ndarray) -> None:
        """Code signed integers (n,); what a row has no entry for is escaped."""
        entries, excess = to_entries(tables, rows, values)
        self.put(tables, rows, entries)
        exponents = bit_lengths(excess)
        if len(excess):
            self._coder.encode(exponents, Uniform(_NUM_EXPONENTS))
        for exponent, where in _groups(exponents):
            if exponent:
                rest = excess[where] + 1 - (1 << exponent)
                self._coder.encode(rest.astype(np.int32), Uniform(1 << exponent))

    def put_each(self, frequencies: Iterable[np.ndarray], entries: np.ndarray) -> None:
        """Code entries (n,), each with its own distribution: frequencies int (n_i, K) in turn,
        n_i together n."""
        entries, start = entries.astype(np.int32), 0
        for part in frequencies:
            end = start + len(part)
            self._coder.encode(entries[start:end], Categorical(perfect=False), _as_floats(part))
            start = end
        assert start == len(entries)

    def finish(self) -> bytes:
        return self._coder.get_compressed().astype("<u4").tobytes()


class SymbolDecoder:
    """Takes symbols back out of a payload, in the order in which they were put.

    Whatever the bytes are, each call returns symbols its rows allow, or raises ValueError; past
    the payload's end the coder reads zeros. Time and memory depend on the number of symbols asked
    for alone.
    """

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise ValueError(f"the payload has {len(payload)} bytes, which are not whole words")
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def take(self, tables: FrequencyTables, rows: np.ndarray) -> np.ndarray:
        """Entries int64 (n,) of the tables' rows (n,)."""
        entries = np.empty(len(rows), dtype=np.int64)
        for row, where in _groups(rows):
            count = where.stop - where.start if isinstance(where, slice) else len(where)
            entries[where] = self._decode(tables.model(row), count)
        return entries

    def take_signed(self, tables: FrequencyTables, rows: np.ndarray) -> np.ndarray:
        """Signed integers int64 (n,), coded by `put_signed`."""
        values = np.empty(len(rows), dtype=np.int64)
        escaped = []
        for row, where in _groups(rows):
            count = where.stop - where.start if isinstance(where, slice) else len(where)
            entries, most = self._decode(tables.model(row), count), tables.most(row)
            values[where] = entries - most
            outside = entries > 2 * most
            if outside.any():
                places = np.arange(where.start, where.stop) if isinstance(where, slice) else where
                escaped.append(places[outside])
        if escaped:
            self._add_escapes(values, np.sort(np.concatenate(escaped)))
        return values

    def _add_escapes(self, values: np.ndarray, escaped: np.ndarray) -> None:
        """Decode what lies at the places `escaped`, which hold M + 1 so far."""
        exponents = self._decode(Uniform(_NUM_EXPONENTS), len(escaped))
        excess = (1 << exponents.astype(np.int64)) - 1
        for exponent, where in _groups(exponents):
            if exponent:
                excess[where] += self._decode(Uniform(1 << exponent), len(excess[where]))
        # Beyond M by 1, 2, ...: even numbers above, odd ones below.
        beyond = values[escaped] + (excess >> 1)
        values[escaped] = np.where(excess & 1, -beyond, beyond)

    def take_each(self, frequencies: Iterable[np.ndarray]) -> np.ndarray:
        """Entries int64 (n,), coded by `put_each`."""
        family = Categorical(perfect=False)
        parts = [self._decode(family, _as_floats(part)) for part in frequencies]
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)

    def finish(self) -> None:
        """Raise ValueError if the payload holds more than was taken."""
        if not self._coder.maybe_exhausted():
            raise ValueError("the payload is longer than its symbols")

    def _decode(self, model: object, argument: int | np.ndarray) -> np.ndarray:
        try:
            return self._coder.decode(model, argument)
        except AssertionError as error:  # how constriction says that the bytes fit no symbol
            raise ValueError("the payload is corrupt") from error


def to_entries(
    tables: FrequencyTables, rows: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signed values (n,) => table entries (n,), and the excesses of those that are escaped."""
    widths = tables.widths[rows]
    most = (widths - 2) // 2
    outside = np.abs(values) > most
    beyond = np.abs(values[outside]) - most[outside] - 1
    excess = 2 * beyond + (values[outside] < 0)
    assert not len(excess) or excess.max() <= _MAX_EXCESS
    return np.where(outside, widths - 1, values + most), excess


def bit_lengths(excess: np.ndarray) -> np.ndarray:
    """floor(log2(e + 1)) as int32: the number of bits that follow the exponent."""
    return (np.frexp((excess + 1).astype(np.float64))[1] - 1).astype(np.int32)


def escape_bits(excess: np.ndarray) -> float:
    """What escaping costs beyond the escape entries themselves."""
    return float(4 * len(excess) + bit_lengths(excess).sum())


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


def _as_floats(frequencies: np.ndarray) -> np.ndarray:
    assert np.issubdtype(frequencies.dtype, np.integer) and frequencies.ndim == 2
    return np.ascontiguousarray(frequencies, dtype=np.float64)
