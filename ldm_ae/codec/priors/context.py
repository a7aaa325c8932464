"""The context prior of latents: each value's mean and scale from its known neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.format.ladder import MAX_VALUE, step
from ldm_ae.codec.priors import context_net
from ldm_ae.codec.priors.arrays import Arrays, array
from ldm_ae.codec.priors.base import Place, Prior, scale_of, tables_of
from ldm_ae.codec.priors.context_net import run_head, run_trunk
from ldm_ae.codec.priors.distributions import Signed
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE, INTEGER, LIMIT, Weights
from ldm_ae.codec.priors.refinement import all_passes, step_octaves

# A table for each log2 of scale over step, every quarter from -5 to 5, and for each eighth of a
# step that the mean may lie off the nearest symbol.
LEAST_SCALE, NUM_SCALES, SCALES_PER_OCTAVE, NUM_FRACTIONS = -5, 41, 4, 8
_HALF_SCALE = ACTIVATION_ONE // SCALES_PER_OCTAVE // 2


@dataclass(frozen=True)
class ContextPrior(Prior):
    """weights: for each of the three networks, integers in float64. tables: row = scale index *
    NUM_FRACTIONS + fraction index, of the symbol less that nearest to the mean."""

    name: ClassVar[str] = "context"
    weights: Sequence[Weights]

    def __post_init__(self) -> None:
        self.tables.require_signed(NUM_SCALES * NUM_FRACTIONS)

    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Signed]]:
        size = step(quality)
        octaves = step_octaves(size)
        for each in all_passes(*symbols.shape[1:]):
            weights, condition = self.weights[each.net], context_net.told(each.kind, octaves)
            values = torch.from_numpy(symbols[:, *each.grid] * size).double()
            parts = [
                run_trunk(weights, seen, condition, INTEGER)
                for seen in each.seen(values, INTEGER.one)
            ]
            features, linear = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
            here = symbols[:, *each.place]
            for channels in context_net.groups(len(symbols)):
                values = torch.from_numpy(here * size).flatten(1).double()
                trunk = features, linear
                mean, spread = run_head(weights, trunk, values, condition, INTEGER, channels)
                rows, offsets = to_rows(_integers(mean), _integers(spread), size)
                distribution = Signed(self.tables, rows, offsets, MAX_VALUE // size)
                yield (channels, *each.place), distribution

    def to_arrays(self) -> dict[str, np.ndarray]:
        return super().to_arrays() | context_net.to_arrays(self.weights)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ContextPrior:
        scale = scale_of(arrays)
        channels, sizes = len(scale.centre), context_net.sizes_of(arrays)
        per_channel = array(arrays, "net0.out", np.int16, (2 * channels, None)).shape[1]
        context_net.require_width("net0.out", per_channel)
        shapes = context_net.latent_shapes(channels, replace(sizes, per_channel=per_channel))
        return cls(tables_of(arrays), context_net.from_arrays(arrays, shapes), scale=scale)


def to_rows(mean: np.ndarray, scale: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Means in units and log2 scales in 1/256 octaves => table rows and offsets, int64 (n,)."""
    most = MAX_VALUE // size
    offsets = ((2 * mean + size) // (2 * size)).clip(-most, most)
    rest = mean - offsets * size  # in [-size/2, size/2), but for clipped offsets
    fraction = ((2 * rest + size) * NUM_FRACTIONS // (2 * size)).clip(0, NUM_FRACTIONS - 1)
    relative = scale - step_octaves(size) - LEAST_SCALE * ACTIVATION_ONE
    index = ((relative + _HALF_SCALE) // (2 * _HALF_SCALE)).clip(0, NUM_SCALES - 1)
    return index * NUM_FRACTIONS + fraction, offsets


def _integers(activations: Tensor) -> np.ndarray:
    """Channels, then positions."""
    return activations.flatten().numpy().astype(np.int64)


assert MAX_VALUE <= LIMIT  # values in units are activations
