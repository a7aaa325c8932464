"""Parquet shards, local or elsewhere, read from any row on without a copy or an index."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

import datasets
import fsspec
import pyarrow.parquet as pq

from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.images import BrokenImageError, Item

_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class ParquetShard:
    """One parquet file. Only its footer is read at first: it gives the number of rows."""

    path: str
    column: str
    num_rows: int

    def __len__(self) -> int:
        return self.num_rows

    def items(self, start: int) -> Iterator[Item]:
        """The images from row `start` on; row groups before it are not read."""
        file = _open(self.path)
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
                for row, cell in islice(enumerate(cells, first_row), skipped, None):
                    name = f"{self.path} row {row}"
                    try:
                        yield name, encoded_image(cell.as_py())
                    except BrokenImageError as error:
                        yield name, error
            first_row = end_row


def open_parquet(paths: list[str], label: str, wanted: str | None) -> tuple[ParquetShard, ...]:
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
