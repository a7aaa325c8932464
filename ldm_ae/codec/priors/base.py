"""What an entropy model must offer, and the simplest ones: one distribution per channel, or one
for all code indices.

An entropy model codes in passes: each pass is told the values decoded so far and names a
distribution for each value of its own. All of that is integer arithmetic, or sums of integers in
float64 that stay below 2^53, so that it comes out the same in every process and on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.codec.format.tables import FrequencyTables

Shape3 = tuple[int, int, int]
Shape2 = tuple[int, int]
Arrays = dict[str, np.ndarray]
Place = tuple[slice, ...]  # some of the positions of an array, a slice for each axis


class LatentPrior(Protocol):
    """Distributions of quantised latents (C, h, w).

    name: names the kind in the prior file. unit: one unit of `ladder`, in the latents' own scale.
    centre: float64 (C,). tables: rows of signed symbols.
    """

    name: ClassVar[str]

    @property
    def unit(self) -> float: ...

    @property
    def centre(self) -> np.ndarray: ...

    @property
    def tables(self) -> FrequencyTables: ...

    def places(self, shape: Shape3, quality: int) -> Sequence[Place]:
        """What each pass codes of (C, h, w): disjoint, together everything."""
        ...

    def predict(
        self, values: np.ndarray, known: np.ndarray, pass_index: int, quality: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Table rows and offsets, int64 (n,), of this pass' positions in C order.

        values: int64 (C, h, w) in units, 0 where `known`, bool (C, h, w), is false. Coded is
        symbol - offset; |offset| must not exceed MAX_VALUE // step.
        """
        ...

    def to_arrays(self) -> Arrays:
        """All it consists of: float64 `unit` (1,) and `centre`, and integers."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LatentPrior:
        """The inverse. Raises ValueError for anything that `to_arrays` cannot have made."""
        ...


class IndexPrior(Protocol):
    """Distributions of code indices (h, w) in [0, num_codes)."""

    name: ClassVar[str]

    @property
    def num_codes(self) -> int: ...

    @property
    def tables(self) -> FrequencyTables: ...

    def places(self, shape: Shape2) -> Sequence[Place]:
        """What each pass codes of (h, w): disjoint, together everything."""
        ...

    def predict(
        self, values: np.ndarray, known: np.ndarray, pass_index: int
    ) -> np.ndarray | Iterator[np.ndarray]:
        """Table rows int64 (n,) of this pass' positions in C order; or, piece by piece so as to
        bound memory, positive integer frequencies (n_i, num_codes), each row with a sum of at
        most 2^24.

        values: int64 (h, w), 0 where `known`, bool (h, w), is false.
        """
        ...

    def to_arrays(self) -> Arrays:
        """All it consists of, integers only."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IndexPrior:
        """The inverse. Raises ValueError for anything that `to_arrays` cannot have made."""
        ...


@dataclass(frozen=True)
class FactorisedPrior:
    """One distribution per channel and quality; row = channel * 64 + quality."""

    name: ClassVar[str] = "factorised"
    unit: float
    centre: np.ndarray
    tables: FrequencyTables

    def __post_init__(self) -> None:
        require_scale(self.unit, self.centre)
        self.tables.require_signed()
        if len(self.tables) != len(self.centre) * NUM_QUALITIES:
            raise ValueError(
                f"prior: {len(self.tables)} tables for {len(self.centre)} channels, expected"
                f" {NUM_QUALITIES} each"
            )

    def places(self, shape: Shape3, quality: int) -> Sequence[Place]:
        return [tuple(slice(size) for size in shape)]

    def predict(
        self, values: np.ndarray, known: np.ndarray, pass_index: int, quality: int
    ) -> tuple[np.ndarray, np.ndarray]:
        channels, height, width = values.shape
        rows = np.arange(channels) * NUM_QUALITIES + quality
        return np.repeat(rows, height * width), np.zeros(values.size, dtype=np.int64)

    def to_arrays(self) -> Arrays:
        return {**scale_arrays(self.unit, self.centre), **table_arrays(self.tables)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FactorisedPrior:
        unit, centre = scale_of(arrays)
        return cls(unit, centre, tables_of(arrays))


@dataclass(frozen=True)
class IndexCounts:
    """The same distribution for every index."""

    name: ClassVar[str] = "index counts"
    num_codes: int
    tables: FrequencyTables

    def __post_init__(self) -> None:
        if len(self.tables) != 1 or self.num_codes != self.tables.widths[0]:
            raise ValueError("prior: expected one table with an entry for each code")

    def places(self, shape: Shape2) -> Sequence[Place]:
        return [tuple(slice(size) for size in shape)]

    def predict(self, values: np.ndarray, known: np.ndarray, pass_index: int) -> np.ndarray:
        return np.zeros(values.size, dtype=np.int64)

    def to_arrays(self) -> Arrays:
        return table_arrays(self.tables)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IndexCounts:
        tables = tables_of(arrays)
        return cls(int(tables.widths[0]), tables)


def require_scale(unit: float, centre: np.ndarray) -> None:
    """Raise ValueError unless latents can be quantised with these."""
    if not (np.isfinite(unit) and unit > 0 and np.isfinite(centre).all()):
        raise ValueError(f"prior: unit={unit} must be positive, and centre finite")


def scale_arrays(unit: float, centre: np.ndarray) -> Arrays:
    return {"unit": np.array([unit], dtype=np.float64), "centre": centre.astype(np.float64)}


def scale_of(arrays: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """unit and centre, checked."""
    unit = array(arrays, "unit", np.float64, (1,))
    centre = array(arrays, "centre", np.float64, (None,))
    return float(unit[0]), centre


def table_arrays(tables: FrequencyTables, prefix: str = "tables") -> Arrays:
    return {
        f"{prefix}.counts": tables.counts.astype(np.int32),
        f"{prefix}.widths": tables.widths.astype(np.int32),
    }


def tables_of(arrays: Mapping[str, np.ndarray], prefix: str = "tables") -> FrequencyTables:
    """The tables, checked."""
    counts = array(arrays, f"{prefix}.counts", np.int32, (None,))
    widths = array(arrays, f"{prefix}.widths", np.int32, (None,))
    return FrequencyTables(counts.astype(np.int64), widths.astype(np.int64))


def array(
    arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: Sequence[int | None]
) -> np.ndarray:
    """One named array of this type and shape (None: any positive length), or ValueError."""
    if name not in arrays:
        raise ValueError(f"prior: {name} is missing")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(
        size == wanted or (wanted is None and size > 0)
        for size, wanted in zip(found.shape, shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        wanted = "x".join("n" if size is None else str(size) for size in shape)
        raise ValueError(
            f"prior: {name} is {found.dtype} of shape {found.shape}, expected"
            f" {np.dtype(dtype).name} {wanted}"
        )
    return found
