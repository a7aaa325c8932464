"""Probabilities as integer counts, and integers too rare for a count of their own as escapes.

Pure functions. What a decoder needs of them is integer arithmetic; what rounds floats says so.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ldm_ae.errors import UserError

TOTAL = 1 << 16  # what fitted tables of latents sum to
LARGEST_TOTAL = 1 << 24  # what the range coder resolves
OCTAVE = 1 << 8  # log2 probabilities are in 1/256
NUM_EXPONENTS = 16
_POWER_BITS = 20


def integer_counts(weights: np.ndarray, total: int = TOTAL) -> np.ndarray:
    """Nonnegative weights (n,) => int64 counts of at least 1 that sum to `total`, as near to
    proportional as that allows. For fitting: it rounds floats."""
    if len(weights) > total // 2:
        raise UserError(f"{len(weights)} entries do not fit a table that sums to {total}")
    shares = weights / weights.sum() * (total - len(weights))
    counts = np.floor(shares).astype(np.int64) + 1
    missing = total - int(counts.sum())
    largest = np.argsort(np.floor(shares) - shares, kind="stable")[:missing]
    counts[largest] += 1
    return counts


def counts_of_logs(logs: np.ndarray) -> np.ndarray:
    """log2 probabilities int64 (n, K) in 1/256, up to a constant per row => positive counts, the
    sum of each row 2^24; the first likeliest entry has what rounding leaves over."""
    best = logs.argmax(axis=1)[:, None]
    below = np.take_along_axis(logs, best, axis=1) - logs
    weights = powers()[below.clip(max=_POWER_BITS * OCTAVE - 1)]
    found = 1 + weights * (LARGEST_TOTAL - logs.shape[1]) // weights.sum(axis=1, keepdims=True)
    rest = LARGEST_TOTAL - found.sum(axis=1, keepdims=True)
    np.put_along_axis(found, best, np.take_along_axis(found, best, axis=1) + rest, axis=1)
    return found


@functools.cache
def powers() -> np.ndarray:
    """floor(2^20 2^(-i/256)) for i in 0..5119, by integers alone."""
    mantissas = [_root(1 << (2 * _POWER_BITS * OCTAVE - i)) for i in range(OCTAVE)]
    shifts = [_POWER_BITS + octaves for octaves in range(_POWER_BITS)]
    return np.array([mantissa >> shift for shift in shifts for mantissa in mantissas])


def _root(power: int) -> int:
    """floor(power^(1/256)), as eight square roots."""
    for _ in range(OCTAVE.bit_length() - 1):
        power = math.isqrt(power)
    return power


def excess_of(values: np.ndarray, most: np.ndarray) -> np.ndarray:
    """How far signed values (n,) lie outside -most..most: 0, 1, 2, ... for most + 1, -most - 1,
    most + 2, ..."""
    excess = 2 * (np.abs(values) - most - 1) + (values < 0)
    assert not len(excess) or excess.max() < (1 << NUM_EXPONENTS) - 1
    return excess


def outside(excess: np.ndarray, most: np.ndarray) -> np.ndarray:
    """The inverse of `excess_of`."""
    beyond = most + 1 + (excess >> 1)
    return np.where(excess & 1, -beyond, beyond)


def exponents_of(excess: np.ndarray) -> np.ndarray:
    """floor(log2(e + 1)): the number of bits that follow the exponent."""
    return np.frexp((excess + 1).astype(np.float64))[1] - 1
