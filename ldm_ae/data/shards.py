"""Shards that are read front to back: parquet or tar, local or on the hub.

Each shard knows its number of images beforehand, and with it its share of a stream's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import datasets
import numpy as np

from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import Item
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.paths import shard_paths
from ldm_ae.data.randomness import held_out_by_index
from ldm_ae.data.sources import check_hold_out, from_hub
from ldm_ae.data.tars import index_tars


class Shard(Protocol):
    """A file of images that can be read from any of them on."""

    def __len__(self) -> int: ...
    def items(self, start: int) -> Iterator[Item]: ...


@dataclass(frozen=True)
class ShardSet:
    """The images of several files, some of them held out of training.

    held_out[s]: the sorted held-out rows of shard s.
    """

    label: str
    shards: tuple[Shard, ...]
    held_out: tuple[np.ndarray, ...]

    def length(self, shard: int) -> int:
        """How many training items a shard has."""
        return len(self.shards[shard]) - len(self.held_out[shard])

    def __len__(self) -> int:
        return sum(self.length(shard) for shard in range(len(self.shards)))

    def read(self, shard: int, start: int) -> Iterator[Item]:
        """The training items of one shard from its item `start` on, in file order."""
        held_out = self.held_out[shard]
        before = np.searchsorted(held_out - np.arange(len(held_out)), start, side="right")
        excluded = set(held_out.tolist())
        first = start + int(before)
        for row, item in enumerate(self.shards[shard].items(first), first):
            if row not in excluded:
                yield item

    def read_held_out(self) -> Iterator[Item]:
        for shard, rows in zip(self.shards, self.held_out, strict=True):
            for row in rows.tolist():
                yield next(shard.items(row))

    def at(self, index: int) -> Item:
        """One training item by its index over all shards."""
        for shard in range(len(self.shards)):
            if index < self.length(shard):
                return next(self.read(shard, index))
            index -= self.length(shard)
        raise IndexError(index)


def open_shards(config: DataConfig) -> ShardSet:
    """The streamed images of `config`, with those held out for validation marked.

    Raises ValueError for missing or unreadable shards, a hold-out that leaves nothing, and a
    hub data set that is stored neither as parquet nor as tar shards.
    """
    shards: tuple[Shard, ...]
    if config.kind == "hub":
        label, paths = f"{config.name}/{config.split}", _hub_shards(config)
    else:
        label = cast(str, config.path)
        paths = shard_paths(label, f".{config.kind}")
    if config.kind == "tar" or (config.kind == "hub" and paths[0].endswith(".tar")):
        shards = index_tars(paths, label, config.image_column)
    else:
        shards = open_parquet(paths, label, config.image_column)
    counts = [len(shard) for shard in shards]
    num_held_out = config.validation_count if config.validation_path is None else 0
    check_hold_out(num_held_out, sum(counts), label)
    rows = held_out_by_index(sum(counts), num_held_out)
    ends = np.cumsum(counts)
    held_out = tuple(
        rows[(rows >= end - count) & (rows < end)] - (end - count)
        for count, end in zip(counts, ends, strict=True)
    )
    return ShardSet(label, shards, held_out)


def _hub_shards(config: DataConfig) -> list[str]:
    name = cast(str, config.name)
    builder = cast(
        datasets.DatasetBuilder,
        from_hub(config, lambda: datasets.load_dataset_builder(name, config.subset)),
    )
    splits = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if config.split not in splits:
        raise ValueError(f"data.split={config.split}: {name} has the splits {sorted(splits)}")
    files = [str(file) for file in splits[config.split]]
    if not any(all(file.endswith(kind) for file in files) for kind in (".parquet", ".tar")):
        raise ValueError(
            f"data.streaming=true: {name} is not stored as parquet or tar shards ({files[0]}): set "
            f"data.streaming=false, or name a parquet version of it"
        )
    return files
