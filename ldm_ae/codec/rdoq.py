"""Rate-distortion optimised quantisation: symbols that are worth their bits (Sullivan 1996,
"Efficient scalar quantization of exponential and Laplacian random variables"; Karczewicz et al.
2008, VCEG-AH21).

The encoder's choice alone; files stay as the format has them. Pass by pass, each value takes of
its nearest symbol and the one beside it that is nearer to the prior's prediction the cheaper:

    J = (x - s)^2 + lambda bits(s),    x in steps.

For squared error in the picture a uniform quantiser's slope at high rate, 2 ln(2) / 12 = 0.116, is
about right. It costs detail, which a perceptual distance wants: there a quarter of it is best.
"""

from __future__ import annotations

import numpy as np

from ldm_ae.codec.format.coder import bit_lengths, to_entries
from ldm_ae.codec.format.ladder import in_steps, step
from ldm_ae.codec.format.tables import FrequencyTables
from ldm_ae.codec.priors.base import LatentPrior

LAGRANGIAN = 0.03  # lambda, squared steps a bit; by LPIPS, on photos that no figure is given for


def choose_symbols(
    latents: np.ndarray, prior: LatentPrior, quality: int, lagrangian: float = LAGRANGIAN
) -> np.ndarray:
    """Latents float32 (C, h, w) => symbols int64 (C, h, w) for a quality; `lagrangian` 0 gives the
    nearest ones. Raises ValueError for latents that are not finite."""
    scaled = in_steps(latents, prior.centre, prior.unit, quality)
    symbols = np.rint(scaled).astype(np.int64)
    values, known = np.zeros_like(symbols), np.zeros(symbols.shape, dtype=bool)
    channels, height, width = symbols.shape
    for index, place in enumerate(prior.places((channels, height, width), quality)):
        rows, offsets = prior.predict(values, known, index, quality)
        nearest, wanted = symbols[place], scaled[place].ravel()
        one = nearest.ravel()
        other = one + np.sign(offsets - one)
        costs = [
            (wanted - each) ** 2 + lagrangian * symbol_bits(prior.tables, rows, each - offsets)
            for each in (one, other)
        ]
        symbols[place] = np.where(costs[1] < costs[0], other, one).reshape(nearest.shape)
        values[place] = symbols[place] * step(quality)
        known[place] = True
    return symbols


def symbol_bits(tables: FrequencyTables, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bits (n,) of signed values (n,) less their offsets, escapes included."""
    entries, excess = to_entries(tables, rows, values)
    bits = tables.bits(rows, entries)
    bits[entries == tables.widths[rows] - 1] += 4 + bit_lengths(excess)
    return bits
