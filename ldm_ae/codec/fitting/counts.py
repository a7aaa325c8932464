"""Fits the simplest priors by counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ldm_ae.codec.format.ladder import STEPS, UNITS_PER_DEVIATION, Scale
from ldm_ae.codec.priors.counts import FactorisedPrior, IndexCounts
from ldm_ae.codec.priors.frequencies import integer_counts
from ldm_ae.codec.priors.tables import FrequencyTables

_TAIL_SHARE = 0.01  # of the Laplace tail, so that no distance is out of the question
_ESCAPED = 2e-5  # at most this probability is left to the escape


def fit_scale(latents: Sequence[np.ndarray]) -> Scale:
    """From latents (C, h, w) of any sizes. Raises UserError for some that do not vary."""
    values = _by_channel(latents)
    deviation = float(np.sqrt(values.var(axis=1).mean()))
    return Scale(deviation / UNITS_PER_DEVIATION, values.mean(axis=1))


def fit_factorised(latents: Sequence[np.ndarray]) -> FactorisedPrior:
    """From latents (C, h, w) of any sizes, at least a few hundred values a channel.

    Each channel's density is a Gaussian kernel estimate with a Laplace tail, summed over the
    intervals of each step. Raises UserError for latents that do not vary.
    """
    scale, rows = fit_scale(latents), []
    for channel in (_by_channel(latents) - scale.centre[:, None]) / scale.unit:
        density = _density(channel)
        rows += [_table(density, size) for size in STEPS]
    return FactorisedPrior(FrequencyTables.of(rows), scale=scale)


def fit_index_counts(indices: Sequence[np.ndarray], num_codes: int) -> IndexCounts:
    """From int arrays of indices in [0, num_codes); codes that never came count half."""
    found = np.zeros(num_codes, dtype=np.int64)
    for item in indices:
        found += np.bincount(item.ravel(), minlength=num_codes)
    total = max(1 << 16, 1 << (int(num_codes - 1).bit_length() + 6))
    return IndexCounts(FrequencyTables.of([integer_counts(found + 0.5, total)]))


def _by_channel(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Latents (C, h, w) => float64 (C, n)."""
    values = np.concatenate([item.reshape(len(item), -1) for item in latents], axis=1)
    return values.astype(np.float64)


def _density(units: np.ndarray) -> np.ndarray:
    """Masses of the integers -L..L, given values (n,) in units."""
    deviation = max(float(units.std()), 1.0)
    limit = int(min(np.abs(units).max(), 64 * UNITS_PER_DEVIATION)) + int(8 * deviation) + 1
    grid = np.arange(-limit, limit + 1)
    inside = np.rint(units.clip(-limit, limit)).astype(np.int64) + limit
    found = np.bincount(inside, minlength=len(grid)) / len(units)
    # Silverman 1986, eq. 3.31; at least a sixteenth of a deviation hides no structure that
    # matters to steps of a thirty-second.
    spread = np.subtract(*np.percentile(units, [75, 25])) / 1.34
    bandwidth = max(0.9 * min(deviation, spread or deviation) * len(units) ** -0.2, 1.0)
    transformed = np.fft.rfft(found, 2 * len(grid))
    frequencies = np.fft.rfftfreq(2 * len(grid))
    kernel = np.exp(-2 * (np.pi * frequencies * bandwidth) ** 2)
    smooth = np.fft.irfft(transformed * kernel)[: len(grid)].clip(min=0)
    tail = np.exp(-np.abs(grid) * (np.sqrt(2) / deviation))
    return (1 - _TAIL_SHARE) * smooth / smooth.sum() + _TAIL_SHARE * tail / tail.sum()


def _table(density: np.ndarray, size: int) -> np.ndarray:
    """Counts of the symbols -M..M and the escape at a step of `size` units."""
    limit = len(density) // 2
    symbols = np.floor_divide(np.arange(-limit, limit + 1) + size // 2, size)
    largest = int(symbols[-1])
    masses = np.bincount(symbols + largest + 1, weights=density, minlength=2 * largest + 3)[1:-1]
    both = masses[largest:].copy()
    both[1:] += masses[:largest][::-1]  # of magnitude 0, 1, ...
    outside = 1 - np.cumsum(both)
    most = int(np.argmax(outside < _ESCAPED)) if (outside < _ESCAPED).any() else largest
    kept = masses[largest - most : largest + most + 1]
    return integer_counts(np.append(kept, max(1 - kept.sum(), 0)))
