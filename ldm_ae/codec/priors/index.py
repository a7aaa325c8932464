"""The context prior of code indices: a distribution over all codes from the known codes around."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.format.tables import FrequencyTables
from ldm_ae.codec.priors.base import Arrays, Place, Shape2, array, table_arrays, tables_of
from ldm_ae.codec.priors.context import sizes_of, weight_arrays, weights_of
from ldm_ae.codec.priors.context_net import feature_shapes, run_features, trunk_shapes
from ldm_ae.codec.priors.context_passes import all_passes, condition
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE, INTEGER, Weights, from_integers

TOTAL = 1 << 24  # what each row of frequencies sums to
MAX_CODES = 1 << 18
_MAX_NUMBERS = 1 << 20  # frequencies that are in memory at once
_POWER_BITS, _POWERS = 20, 20 * ACTIVATION_ONE


@dataclass(frozen=True)
class ContextIndexPrior:
    """vectors: int16 (K, D), what stands for each code as a neighbour, in 1/256. codes: integers
    in float64 (K, L), how each code's log2 probability weighs the features. weights: for each of
    the three networks, integers in float64. tables: one row, for the coarsest grid."""

    name: ClassVar[str] = "index context"
    vectors: np.ndarray
    codes: Tensor
    weights: Sequence[Weights]
    tables: FrequencyTables

    def __post_init__(self) -> None:
        num_codes = len(self.vectors)
        if len(self.tables) != 1 or self.tables.widths[0] != num_codes:
            raise ValueError("prior: expected one table with an entry for each code")
        if len(self.codes) != num_codes or num_codes > MAX_CODES:
            raise ValueError(f"prior: {num_codes} codes, weights for {len(self.codes)}")

    @property
    def num_codes(self) -> int:
        return len(self.vectors)

    def places(self, shape: Shape2) -> Sequence[Place]:
        return [each.place() for each in all_passes(*shape)]

    def predict(
        self, values: np.ndarray, known: np.ndarray, pass_index: int
    ) -> np.ndarray | Iterator[np.ndarray]:
        height, width = values.shape
        each = all_passes(height, width)[pass_index]
        rows, cols = each.size(height, width)
        if each.corner == 0:
            return np.zeros(rows * cols, dtype=np.int64)
        planes = (self.vectors[values] * known[..., None]).transpose(2, 0, 1)
        cells = each.cells(torch.from_numpy(planes).double(), INTEGER.one)
        told = torch.tensor(condition(each.kind, 0), dtype=torch.float64)[:, None]
        with torch.inference_mode():
            pieces = [
                run_features(self.weights[each.net], seen, told, INTEGER)
                for seen in each.pieces(cells, (rows, cols))
            ]
            features = torch.cat(pieces, dim=1)
        return self._frequencies(features)

    def _frequencies(self, features: Tensor) -> Iterator[np.ndarray]:
        """Features (L, n) => int64 frequencies (n_i, K)."""
        for part in features.split(max(1, _MAX_NUMBERS // self.num_codes), dim=1):
            logs = INTEGER.rescale(part.T @ self.codes.T).numpy().astype(np.int64)
            yield frequencies(logs)

    def to_arrays(self) -> Arrays:
        return {
            "vectors": self.vectors,
            "codes": self.codes.numpy().astype(np.int16),
            **table_arrays(self.tables),
            **weight_arrays(self.weights),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ContextIndexPrior:
        vectors = array(arrays, "vectors", np.int16, (None, None))
        codes = array(arrays, "codes", np.int16, (len(vectors), None))
        num_features, sizes = codes.shape[1], sizes_of(arrays)
        shapes = trunk_shapes(vectors.shape[1], num_features, sizes)
        shapes |= feature_shapes(num_features, sizes)
        return cls(
            vectors, from_integers("codes", codes), weights_of(arrays, shapes), tables_of(arrays)
        )


def frequencies(logs: np.ndarray) -> np.ndarray:
    """log2 probabilities (n, K) in 1/256, up to a constant per row => positive integers, the sum
    of each row 2^24; the first likeliest code has what rounding leaves over."""
    best = logs.argmax(axis=1)[:, None]
    below = (np.take_along_axis(logs, best, axis=1) - logs).clip(max=_POWERS - 1)
    weights = powers()[below]
    found = 1 + weights * (TOTAL - logs.shape[1]) // weights.sum(axis=1, keepdims=True)
    rest = TOTAL - found.sum(axis=1, keepdims=True)
    np.put_along_axis(found, best, np.take_along_axis(found, best, axis=1) + rest, axis=1)
    return found


@functools.cache
def powers() -> np.ndarray:
    """floor(2^20 2^(-i/256)) for i in 0..5119, by integers alone."""
    mantissas = [_root(1 << (2 * _POWER_BITS * ACTIVATION_ONE - i)) for i in range(ACTIVATION_ONE)]
    return np.array(
        [
            mantissas[i % ACTIVATION_ONE] >> (_POWER_BITS + i // ACTIVATION_ONE)
            for i in range(_POWERS)
        ]
    )


def _root(power: int) -> int:
    """floor(power^(1/256)), as eight square roots."""
    for _ in range(ACTIVATION_ONE.bit_length() - 1):
        power = math.isqrt(power)
    return power
