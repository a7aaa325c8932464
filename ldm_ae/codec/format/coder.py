"""Range coding (Martin 1979) of entries by integer counts, of which constriction does the work.

It knows nothing of pictures, priors or tables: counts and entries go in, words come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ldm_ae.errors import UserError

try:
    from constriction import stream
except ImportError:
    from ldm_ae.codec.format import integer_coder

    _Categorical, _Uniform = integer_coder.Categorical, integer_coder.Uniform
    _RangeEncoder, _RangeDecoder = integer_coder.RangeEncoder, integer_coder.RangeDecoder
else:
    _Categorical, _Uniform = stream.model.Categorical, stream.model.Uniform
    _RangeEncoder, _RangeDecoder = stream.queue.RangeEncoder, stream.queue.RangeDecoder

Model = Any  # constriction's form of a distribution


def model_of(counts: np.ndarray) -> Model:
    """For many entries of one distribution, counts (m,). Sums of these integers are exact in
    float64, so the coder arrives at the same integer bounds everywhere."""
    return _Categorical(_as_floats(counts), perfect=False)


def equally_likely(size: int) -> Model:
    """For entries in [0, size), size a power of two."""
    return _Uniform(size)


class Encoder:
    """Collects entries; `finish` returns the bytes."""

    def __init__(self) -> None:
        self._coder = _RangeEncoder()

    def put(self, model: Model, entries: np.ndarray) -> None:
        """Code entries (n,) of one distribution."""
        self._coder.encode(np.ascontiguousarray(entries, dtype=np.int32), model)

    def put_each(self, counts: np.ndarray, entries: np.ndarray) -> None:
        """Code entries (n,), each with counts of its own, int (n, m)."""
        entries = np.ascontiguousarray(entries, dtype=np.int32)
        self._coder.encode(entries, _Categorical(perfect=False), _as_floats(counts))

    def finish(self) -> bytes:
        return self._coder.get_compressed().astype("<u4").tobytes()


class Decoder:
    """Takes entries back out of a payload, in the order in which they were put.

    Whatever the bytes are, each call returns entries that its counts allow, or raises UserError;
    past the payload's end the coder reads zeros. Time and memory depend on the number of entries
    asked for alone.
    """

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise UserError(f"the payload has {len(payload)} bytes, which are not whole words")
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        self._coder = _RangeDecoder(words)

    def take(self, model: Model, number: int) -> np.ndarray:
        """So many entries of one distribution, int32 (n,)."""
        return self._decode(model, number)

    def take_each(self, counts: np.ndarray) -> np.ndarray:
        """Entries int32 (n,), coded by `put_each`."""
        return self._decode(_Categorical(perfect=False), _as_floats(counts))

    def finish(self) -> None:
        """Raise UserError if the payload holds more than was taken."""
        if not self._coder.maybe_exhausted():
            raise UserError("the payload is longer than its symbols")

    def _decode(self, model: Model, argument: int | np.ndarray) -> np.ndarray:
        try:
            return self._coder.decode(model, argument)
        except AssertionError as error:  # how constriction says that the bytes fit no symbol
            raise UserError("the payload is corrupt") from error


def _as_floats(counts: np.ndarray) -> np.ndarray:
    assert np.issubdtype(counts.dtype, np.integer)
    return np.ascontiguousarray(counts, dtype=np.float64)
