"""The context prior of code indices: a distribution over all codes from the known codes around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.priors import context_net
from ldm_ae.codec.priors.arrays import Arrays, array
from ldm_ae.codec.priors.base import Place, Prior, tables_of
from ldm_ae.codec.priors.context_net import run_features
from ldm_ae.codec.priors.distributions import Alike, Apart
from ldm_ae.codec.priors.frequencies import counts_of_logs
from ldm_ae.codec.priors.integer_net import INTEGER, Weights, from_integers
from ldm_ae.codec.priors.refinement import all_passes
from ldm_ae.errors import UserError

MAX_CODES = 1 << 18
_MAX_NUMBERS = 1 << 20  # counts that are in memory at once


@dataclass(frozen=True)
class ContextIndexPrior(Prior):
    """vectors: int16 (K, D), what stands for each code as a neighbour, in 1/256. codes: integers
    in float64 (K, L), how each code's log2 probability weighs the features. weights: for each of
    the three networks, integers in float64. tables: one row, for the coarsest grid."""

    name: ClassVar[str] = "index context"
    vectors: np.ndarray
    codes: Tensor
    weights: Sequence[Weights]

    def __post_init__(self) -> None:
        self.tables.require_only()
        sizes = [int(self.tables.widths[0]), len(self.vectors), len(self.codes)]
        if len(set(sizes)) > 1 or sizes[0] > MAX_CODES:
            raise UserError(f"prior: counts, vectors and weights are of {sizes} codes")

    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Alike | Apart]]:
        for each in all_passes(*symbols.shape):
            if each.corner == 0:
                yield each.place, Alike(self.tables, symbols[each.place].size)
                continue
            weights, condition = self.weights[each.net], context_net.told(each.kind, 0)
            vectors = torch.from_numpy(self.vectors[symbols[each.grid]])
            values = vectors.permute(2, 0, 1).double()  # (D, rows, columns)
            parts = [
                run_features(weights, seen, condition, INTEGER)
                for seen in each.seen(values, INTEGER.one)
            ]
            yield each.place, Apart(self._counts(torch.cat(parts, dim=1)))

    def _counts(self, features: Tensor) -> Iterator[np.ndarray]:
        """Features (L, n) => int64 counts (n_i, K)."""
        for part in features.split(max(1, _MAX_NUMBERS // len(self.codes)), dim=1):
            logs = INTEGER.rescale(part.T @ self.codes.T)
            yield counts_of_logs(logs.numpy().astype(np.int64))

    def to_arrays(self) -> dict[str, np.ndarray]:
        codes = self.codes.numpy().astype(np.int16)
        arrays = super().to_arrays() | {"vectors": self.vectors, "codes": codes}
        return arrays | context_net.to_arrays(self.weights)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ContextIndexPrior:
        vectors = array(arrays, "vectors", np.int16, (None, None))
        codes = array(arrays, "codes", np.int16, (len(vectors), None))
        dimensions, num_features = vectors.shape[1], codes.shape[1]
        context_net.require_width("vectors", dimensions)
        context_net.require_width("codes", num_features)
        sizes = context_net.sizes_of(arrays)
        shapes = context_net.index_shapes(dimensions, num_features, sizes)
        weights = context_net.from_arrays(arrays, shapes)
        return cls(tables_of(arrays), vectors, from_integers("codes", codes), weights)
