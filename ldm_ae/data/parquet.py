"""Parquet shards, local or elsewhere: streamed from any row on, or copied into a table."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import cast

import datasets
import fsspec
import pyarrow.parquet as pq

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.source import Item, Shard, Source
from ldm_ae.data.tables import open_table

_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class ParquetShard(Shard):
    """One parquet file. Only its footer is read at first: it gives the number of rows."""

    path: str
    column: str
    num_rows: int

    def __len__(self) -> int:
        return self.num_rows

    def name(self, row: int) -> str:
        return f"{self.path} row {row}"

    def read(self, row: int) -> bytes:
        return encoded_image(next(self._cells(row)))

    def items(self, start: int) -> Iterator[Item]:
        for row, cell in enumerate(self._cells(start), start):
            try:
                yield self.name(row), encoded_image(cell)
            except BrokenImageError as error:
                yield self.name(row), error

    def _cells(self, start: int) -> Iterator[object]:
        """The cells from row `start` on; row groups before it are not read."""
        file = _open(self.path)
        first_row = 0
        for group in range(file.num_row_groups):
            end_row = first_row + file.metadata.row_group(group).num_rows
            if start < end_row:
                batches = file.iter_batches(
                    _ROWS_AT_ONCE, row_groups=[group], columns=[self.column], use_threads=False
                )
                cells = chain.from_iterable(batch.column(0) for batch in batches)
                for cell in islice(cells, max(0, start - first_row), None):
                    yield cell.as_py()
            first_row = end_row


def parquet_shards(paths: list[str], label: str, wanted: str | None) -> tuple[ParquetShard, ...]:
    """The shards of `paths`, their footers read.

    Raises ValueError for one that cannot be read, and as `find_image_column`.
    """
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, paths))
    column = find_image_column(footers[0][1], wanted, label)
    return tuple(
        ParquetShard(path, column, num_rows)
        for path, (num_rows, _) in zip(paths, footers, strict=True)
    )


def open_parquet(
    paths: list[str], label: str, wanted: str | None, streaming: bool, key: str
) -> Source:
    """Raises ValueError as `parquet_shards`, and for shards without any row."""
    shards = parquet_shards(paths, label, wanted)
    if streaming:
        return Source(label, shards)
    files = [shard.path for shard in shards if len(shard)]  # `datasets` fails at empty ones
    if not files:
        raise ValueError(f"{key}={label} holds no rows")
    try:
        table = datasets.Dataset.from_parquet(files)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"{key}={label} cannot be read as parquet: {error}") from error
    return open_table(label, cast(datasets.Dataset, table), wanted)


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
