"""The context prior of latents: each value's mean and scale from its known neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.format.ladder import MAX_VALUE, step
from ldm_ae.codec.format.tables import FrequencyTables
from ldm_ae.codec.priors.base import (
    Arrays,
    Place,
    Shape3,
    array,
    require_scale,
    scale_arrays,
    scale_of,
    table_arrays,
    tables_of,
)
from ldm_ae.codec.priors.context_net import (
    Sizes,
    groups,
    head_shapes,
    run_head,
    run_trunk,
    trunk_shapes,
)
from ldm_ae.codec.priors.context_passes import NUM_NETS, Pass, all_passes, condition, step_octaves
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE, INTEGER, LIMIT, Weights, from_integers

# A table for each log2 of scale over step, every quarter from -5 to 5, and for each eighth of a
# step that the mean may lie off the nearest symbol.
LEAST_SCALE, NUM_SCALES, SCALES_PER_OCTAVE, NUM_FRACTIONS = -5, 41, 4, 8
_Key = tuple[Pass, int, tuple[int, int]]
_HALF_SCALE = ACTIVATION_ONE // SCALES_PER_OCTAVE // 2


@dataclass(frozen=True)
class ContextPrior:
    """weights: for each of the three networks, integers in float64. tables: row = scale index *
    NUM_FRACTIONS + fraction index, of the symbol less that nearest to the mean."""

    name: ClassVar[str] = "context"
    unit: float
    centre: np.ndarray
    tables: FrequencyTables
    weights: Sequence[Weights]
    _last: dict[str, tuple[_Key, Tensor, tuple[Tensor, Tensor]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        require_scale(self.unit, self.centre)
        self.tables.require_signed()
        if len(self.tables) != NUM_SCALES * NUM_FRACTIONS:
            raise ValueError(
                f"prior: {len(self.tables)} tables, expected {NUM_SCALES * NUM_FRACTIONS}"
            )

    def places(self, shape: Shape3, quality: int) -> Sequence[Place]:
        return [(channels, *each.place()) for each, channels in _plan(shape)]

    @torch.inference_mode()
    def predict(
        self, values: np.ndarray, known: np.ndarray, pass_index: int, quality: int
    ) -> tuple[np.ndarray, np.ndarray]:
        each, channels = _plan(values.shape)[pass_index]
        weights, size = self.weights[each.net], step(quality)
        told = torch.tensor(condition(each.kind, step_octaves(size)), dtype=torch.float64)[:, None]
        trunk = self._trunk(each, quality, torch.from_numpy(values), told)
        here = torch.from_numpy(values[(slice(None), *each.place())]).flatten(1).double()
        mean, scale = run_head(weights, trunk, here, told, INTEGER, channels)
        return to_rows(_integers(mean), _integers(scale), size)

    def _trunk(
        self, each: Pass, quality: int, planes: Tensor, told: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What all groups of channels of a pass have in common; the last one is kept."""
        # Odd sizes are padded to cells: other sizes may have the same ones.
        key = (each, quality, each.size(*planes.shape[1:]))
        cells = each.cells(planes, int(INTEGER.one))
        last = self._last.get("trunk")
        if last and last[0] == key and torch.equal(last[1], cells):
            return last[2]
        pieces = [
            run_trunk(self.weights[each.net], seen, told, INTEGER)
            for seen in each.pieces(cells.double(), key[2])
        ]
        features, linear = (torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))
        trunk = features, linear
        self._last["trunk"] = (key, cells, trunk)
        return trunk

    def to_arrays(self) -> Arrays:
        arrays = {**scale_arrays(self.unit, self.centre), **table_arrays(self.tables)}
        return arrays | weight_arrays(self.weights)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ContextPrior:
        unit, centre = scale_of(arrays)
        channels, sizes = len(centre), sizes_of(arrays)
        out = array(arrays, "net0.out", np.int16, (2 * channels, None))
        sizes = replace(sizes, per_channel=out.shape[1])
        shapes = trunk_shapes(channels, channels, sizes) | head_shapes(channels, sizes)
        return cls(unit, centre, tables_of(arrays), weights_of(arrays, shapes))


def to_rows(mean: np.ndarray, scale: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Means in units and log2 scales in 1/256 octaves => table rows and offsets, int64 (n,)."""
    most = MAX_VALUE // size
    offsets = ((2 * mean + size) // (2 * size)).clip(-most, most)
    rest = mean - offsets * size  # in [-size/2, size/2), but for clipped offsets
    fraction = ((2 * rest + size) * NUM_FRACTIONS // (2 * size)).clip(0, NUM_FRACTIONS - 1)
    relative = scale - step_octaves(size) - LEAST_SCALE * ACTIVATION_ONE
    index = ((relative + _HALF_SCALE) // (2 * _HALF_SCALE)).clip(0, NUM_SCALES - 1)
    return index * NUM_FRACTIONS + fraction, offsets


def weight_arrays(weights: Sequence[Weights]) -> Arrays:
    return {
        f"net{index}.{name}": weight.numpy().astype(np.int16)
        for index, net in enumerate(weights)
        for name, weight in net.items()
    }


def sizes_of(arrays: Mapping[str, np.ndarray]) -> Sizes:
    """The networks' layers, but for the head's."""
    second = array(arrays, "net0.second", np.int16, (None, None))
    return Sizes(first=second.shape[1], second=second.shape[0])


def weights_of(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, int]]
) -> list[Weights]:
    """The networks' weights, checked."""
    return [
        {
            name: from_integers(name, array(arrays, f"net{index}.{name}", np.int16, shape))
            for name, shape in shapes.items()
        }
        for index in range(NUM_NETS)
    ]


def _plan(shape: Shape3) -> list[tuple[Pass, slice]]:
    """Passes and, within each, groups of channels."""
    return [(each, part) for each in all_passes(*shape[1:]) for part in groups(shape[0])]


def _integers(activations: Tensor) -> np.ndarray:
    """Channels, then positions."""
    return activations.flatten().numpy().astype(np.int64)


assert MAX_VALUE <= LIMIT  # values in units are activations
