"""What every source of images is: shards of encoded images, by row or front to back.

A new kind of source is a `Shard` with a length, names and `read`; `items` too, where reading from
front to back is cheaper than row by row. `ldm_ae.data.opening` lists the kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.randomness import held_out_by_index, held_out_by_name
from ldm_ae.data.texts import TextColumns, Texts

# An image's name, and the image: encoded, the path of its file, or why there is none.
Item = tuple[str, str | bytes | BrokenImageError]


class Shard(ABC):
    """Encoded images in a fixed order: those of a file, a folder or a table."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, row: int) -> str:
        """What to call an image in messages."""

    def key(self, row: int) -> str:
        """What to know an image by from one run to the next: a name that stays as others come and
        go, as far as the source has such."""
        return self.name(row)

    def texts(self, row: int, columns: TextColumns) -> Texts:
        """Its caption and label. Raises UserError for columns that are not there."""
        return Texts()

    @abstractmethod
    def read(self, row: int) -> str | bytes:
        """The encoded image, or the path of its file. Raises BrokenImageError if there is none."""

    def items(self, start: int) -> Iterator[Item]:
        """The images from row `start` on, front to back."""
        return (self.item(row) for row in range(start, len(self)))

    def item(self, row: int) -> Item:
        try:
            return self.name(row), self.read(row)
        except BrokenImageError as error:
            return self.name(row), error

    def lasting_names(self) -> Iterable[bytes] | None:
        """Names that stay as images are added, if there are such: what is held out follows them."""
        return None


class Names:
    """Many names in two objects. Forked workers share them; of a list, every item that is only
    looked at is copied with its page."""

    def __init__(self, names: Iterable[bytes]) -> None:
        found = list(names)
        self._text = b"".join(found)
        self._ends = np.cumsum([0] + [len(name) for name in found])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text[self._ends[index] : self._ends[index + 1]]


@dataclass(frozen=True)
class Source:
    """The images of several shards in a row. label: what to call it in messages."""

    label: str
    shards: tuple[Shard, ...]

    @cached_property
    def starts(self) -> np.ndarray:
        """The first row of each shard, and the end: (shards + 1,)."""
        return np.cumsum([0] + [len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, row: int) -> str:
        shard, within = self._find(row)
        return shard.name(within)

    def item(self, row: int) -> Item:
        shard, within = self._find(row)
        return shard.item(within)

    def key(self, row: int) -> str:
        shard, within = self._find(row)
        return shard.key(within)

    def texts(self, row: int, columns: TextColumns) -> Texts:
        shard, within = self._find(row)
        return shard.texts(within, columns)

    def items(self, rows: Sequence[int]) -> Iterator[Item]:
        """The images of these rows, in order; runs of neighbours are read front to back."""
        start = 0
        while start < len(rows):
            shard, within = self._find(rows[start])
            end = start + 1
            while end < len(rows) and rows[end] == rows[end - 1] + 1:
                end += 1
            end = min(end, start + len(shard) - within)
            yield from islice(shard.items(within), end - start)
            start = end

    def _find(self, row: int) -> tuple[Shard, int]:
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.shards[number], row - int(self.starts[number])

    def held_out(self, count: int) -> np.ndarray:
        """Sorted rows of the `count` images to hold out, the same ones for every seed."""
        names = [shard.lasting_names() for shard in self.shards]
        lasting = [name for part in names if part is not None for name in part]
        if len(lasting) == len(self):
            return held_out_by_name(lasting, count)
        return held_out_by_index(len(self), count)


@dataclass(frozen=True)
class Chosen:
    """Some images of a source. rows: sorted."""

    source: Source
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def items(self) -> Iterator[Item]:
        return (self.source.item(row) for row in self.rows.tolist())


@dataclass(frozen=True)
class TrainingImages:
    """The images of a source but for those that are held out, by index and by shard.

    held_out: their rows, sorted. The rows that are left are not listed: there may be billions.
    """

    source: Source
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.source) - len(self.held_out)

    def name(self, index: int) -> str:
        return self.source.name(self._row(index))

    def item(self, index: int) -> Item:
        return self.source.item(self._row(index))

    def _row(self, index: int) -> int:
        return index + _num_before(self.held_out, index)

    def length(self, shard: int) -> int:
        """How many training images a shard has."""
        return len(self.source.shards[shard]) - len(self._held_out_of(shard))

    def items(self, shard: int, start: int) -> Iterator[Item]:
        """The training images of one shard from its training image `start` on, in file order."""
        held_out = self._held_out_of(shard)
        first = start + _num_before(held_out, start)
        excluded = set(held_out.tolist())
        for row, item in enumerate(self.source.shards[shard].items(first), first):
            if row not in excluded:
                yield item

    def _held_out_of(self, shard: int) -> np.ndarray:
        begin, end = self.source.starts[shard : shard + 2]
        first, last = np.searchsorted(self.held_out, (begin, end))
        return self.held_out[first:last] - begin


def _num_before(held_out: np.ndarray, index: int) -> int:
    """How many held-out rows come before the image of this index among the others."""
    return int(np.searchsorted(held_out - np.arange(len(held_out)), index, side="right"))
