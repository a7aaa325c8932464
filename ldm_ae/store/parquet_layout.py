"""Parquet shards, as `datasets`, Ray, Spark and pandas read them."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ldm_ae.errors import UserError
from ldm_ae.store.layouts import Layout, stamp
from ldm_ae.store.rows import SCHEMA, Row

_GROUP = 16  # rows that are read for the sake of one


class ParquetLayout(Layout):
    ending = ".parquet"

    def to_bytes(self, rows: Sequence[Row]) -> bytes:
        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        table = pa.table(columns, schema=SCHEMA)
        # Latents are as good as noise: neither a dictionary nor compression would shorten them.
        squeezed = {name: "zstd" for name in SCHEMA.names} | {"latents": "none"}
        buffer = io.BytesIO()
        pq.write_table(
            table,
            buffer,
            row_group_size=_GROUP,
            compression=squeezed,
            use_dictionary=["label", "model", "protocol"],
        )
        return buffer.getvalue()

    def read(self, path: Path) -> Iterator[Row]:
        file, _ = _opened(path, stamp(path))
        for group in range(file.num_row_groups):
            yield from _rows(path, file.read_row_group(group))

    def row(self, path: Path, number: int) -> Row:
        file, ends = _opened(path, stamp(path))
        group = bisect_right(ends, number)
        first = ends[group - 1] if group else 0
        return _rows(path, file.read_row_group(group).slice(number - first, 1))[0]


@lru_cache(maxsize=64)
def _opened(path: Path, version: tuple[int, int]) -> tuple[pq.ParquetFile, list[int]]:
    """A shard, and where each of its row groups ends."""
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as a shard: {error}") from error
    groups = range(file.num_row_groups)
    return file, list(accumulate(file.metadata.row_group(group).num_rows for group in groups))


def _rows(path: Path, table: pa.Table) -> list[Row]:
    try:
        return [Row(**cells) for cells in table.select(SCHEMA.names).to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no shard of latents: {error}") from error


def num_rows(path: Path) -> int:
    """Of a shard."""
    ends = _opened(path, stamp(path))[1]
    return ends[-1] if ends else 0
