"""What an entropy model must offer.

It codes in passes: each knows the symbols of the passes before it and names a distribution for its
own. All of that is integer arithmetic, or sums of integers in float64 that stay below 2^53, so that
it comes out the same in every process and on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from ldm_ae.codec.format.ladder import Scale
from ldm_ae.codec.priors.arrays import Arrays, array
from ldm_ae.codec.priors.distributions import Distribution
from ldm_ae.codec.priors.tables import FrequencyTables

Place = tuple[slice, ...]  # some of the positions of an array, a slice for each axis
EVERYTHING: Place = (slice(None),)


@dataclass(frozen=True)
class Prior(ABC):
    """Distributions of quantised latents (C, h, w), or of code indices (h, w).

    name: of the kind, in the prior file. scale: of the latents; None for code indices.
    """

    name: ClassVar[str]
    tables: FrequencyTables
    scale: Scale | None = field(default=None, kw_only=True)

    @abstractmethod
    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Distribution]]:
        """What each pass codes, disjoint and together everything, and how.

        symbols: int64 (C, h, w) or (h, w), zeros at first; whoever walks the passes writes those
        of a pass in before taking the next one.
        """

    @property
    def num_channels(self) -> int:
        """C; 0 for code indices."""
        return 0 if self.scale is None else len(self.scale.centre)

    @property
    def of(self) -> str:
        """What it is a prior of, in words."""
        if self.scale is None:
            return f"indices of {self.tables.widths[0]} codes"
        return f"latents of {self.num_channels} channels"

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All it consists of: for latents float64 `unit` (1,) and `centre` (C,), and integers."""
        tables = self.tables
        found = {"tables.counts": tables.counts, "tables.widths": tables.widths}
        arrays = {name: value.astype(np.int32) for name, value in found.items()}
        if self.scale is None:
            return arrays
        unit, centre = np.array([self.scale.unit]), self.scale.centre.astype(np.float64)
        return {"unit": unit, "centre": centre, **arrays}

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The inverse. Raises UserError for anything that `to_arrays` cannot have made."""


def scale_of(arrays: Arrays) -> Scale:
    """unit and centre, checked."""
    unit = array(arrays, "unit", np.float64, (1,))
    return Scale(float(unit[0]), array(arrays, "centre", np.float64, (None,)))


def tables_of(arrays: Arrays) -> FrequencyTables:
    """The tables, checked."""
    counts = array(arrays, "tables.counts", np.int32, (None,))
    widths = array(arrays, "tables.widths", np.int32, (None,))
    return FrequencyTables(counts.astype(np.int64), widths.astype(np.int64))
