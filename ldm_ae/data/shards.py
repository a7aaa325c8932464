"""Parquet shards, local or on the hub, read from any row on without a copy or an index.

Only the footers are read at first: they give the row counts, and with them every shard's share
of the order of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

import datasets
import fsspec
import numpy as np
import pyarrow.parquet as pq

from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError
from ldm_ae.data.randomness import held_out_by_index
from ldm_ae.data.sources import check_hold_out, from_hub, parquet_files

Item = tuple[str, str | bytes | BrokenImageError]  # name, encoded image (or why there is none)

_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class ShardSet:
    """Rows of parquet files, some of them held out of training.

    counts[s]: rows of shard s. held_out[s]: its sorted held-out rows.
    """

    label: str
    shards: tuple[str, ...]
    column: str
    counts: tuple[int, ...]
    held_out: tuple[np.ndarray, ...]

    def length(self, shard: int) -> int:
        """How many training items a shard has."""
        return self.counts[shard] - len(self.held_out[shard])

    def __len__(self) -> int:
        return sum(self.length(shard) for shard in range(len(self.shards)))

    def read(self, shard: int, start: int) -> Iterator[Item]:
        """The training items of one shard from its item `start` on, in file order."""
        held_out = self.held_out[shard]
        before = np.searchsorted(held_out - np.arange(len(held_out)), start, side="right")
        excluded = set(held_out.tolist())
        for row, cell in self._rows(shard, start + int(before)):
            if row not in excluded:
                yield self._item(shard, row, cell)

    def read_held_out(self) -> Iterator[Item]:
        for shard, rows in enumerate(self.held_out):
            for row in rows.tolist():
                yield self._item(shard, *next(self._rows(shard, row)))

    def at(self, index: int) -> Item:
        """One training item by its index over all shards."""
        for shard in range(len(self.shards)):
            if index < self.length(shard):
                return next(self.read(shard, index))
            index -= self.length(shard)
        raise IndexError(index)

    def _rows(self, shard: int, start: int) -> Iterator[tuple[int, Any]]:
        """(row, cell) from row `start` to the shard's end; row groups before it are not read."""
        file = _open(self.shards[shard])
        first_row = 0
        for group in range(file.num_row_groups):
            end_row = first_row + file.metadata.row_group(group).num_rows
            if start < end_row:
                cells = chain.from_iterable(
                    batch.column(0)
                    for batch in file.iter_batches(
                        _ROWS_AT_ONCE, row_groups=[group], columns=[self.column], use_threads=False
                    )
                )
                skipped = max(0, start - first_row)
                yield from islice(enumerate(cells, first_row), skipped, None)
            first_row = end_row

    def _item(self, shard: int, row: int, cell: Any) -> Item:
        name = f"{self.shards[shard]} row {row}"
        try:
            return name, encoded_image(cell.as_py())
        except BrokenImageError as error:
            return name, error


def open_shards(config: DataConfig) -> ShardSet:
    """The streamed images of `config`, with those held out for validation marked.

    Raises ValueError for missing or unreadable shards, a hold-out that leaves nothing, and a
    hub data set that is not stored as parquet.
    """
    if config.kind == "hub":
        label, shards = f"{config.name}/{config.split}", _hub_shards(config)
    else:
        label = cast(str, config.path)
        shards = parquet_files(label)
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, shards))
    column = find_image_column(footers[0][1], config.image_column, label)
    counts = tuple(count for count, _ in footers)
    num_held_out = config.validation_count if config.validation_path is None else 0
    check_hold_out(num_held_out, sum(counts), label)
    rows = held_out_by_index(sum(counts), num_held_out)
    ends = np.cumsum(counts)
    held_out = tuple(
        rows[(rows >= end - count) & (rows < end)] - (end - count)
        for count, end in zip(counts, ends, strict=True)
    )
    return ShardSet(label, tuple(shards), column, counts, held_out)


def _hub_shards(config: DataConfig) -> list[str]:
    name = cast(str, config.name)
    builder = cast(
        datasets.DatasetBuilder,
        from_hub(config, lambda: datasets.load_dataset_builder(name, config.subset)),
    )
    splits = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if config.split not in splits:
        raise ValueError(f"data.split={config.split}: {name} has the splits {sorted(splits)}")
    files = splits[config.split]
    if not all(str(file).endswith(".parquet") for file in files):
        raise ValueError(
            f"data.streaming=true: {name} is not stored as parquet ({files[0]}): set "
            f"data.streaming=false, or name a parquet version of it"
        )
    return [str(file) for file in files]


def _open(path: str) -> pq.ParquetFile:
    file_system, location = fsspec.core.url_to_fs(path)
    # Buffered column reads: a row group need not fit in memory at once.
    return pq.ParquetFile(file_system.open(location), buffer_size=2**20, pre_buffer=False)


def _footer(path: str) -> tuple[int, datasets.Features]:
    try:
        file = _open(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
    return file.metadata.num_rows, datasets.Features.from_arrow_schema(file.schema_arrow)
