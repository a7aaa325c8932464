"""Parquet shards, local or elsewhere: streamed from any row on, or copied into a table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, islice
from pathlib import PurePath

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.columns import encoded_image, find_image_column, with_class_names
from ldm_ae.data.source import Item, Shard, Source
from ldm_ae.data.tables import MALFORMED, open_tables, require_cache
from ldm_ae.data.texts import TextColumns, Texts
from ldm_ae.errors import UserError

_ROWS_AT_ONCE = 16
_UNREADABLE = (OSError, pa.ArrowException)  # of an Arrow file, or of the place where it lies


@dataclass(frozen=True)
class ParquetShard(Shard):
    """One parquet file. Only its footer is read at first: it gives the rows of each row group."""

    path: str
    column: str
    group_ends: tuple[int, ...]

    def __len__(self) -> int:
        return self.group_ends[-1] if self.group_ends else 0

    def name(self, row: int) -> str:
        return f"{self.path} row {row}"

    def key(self, row: int) -> str:
        return f"{PurePath(self.path).stem}/{row:07d}"

    def texts(self, row: int, columns: TextColumns) -> Texts:
        group = bisect_right(self.group_ends, row)
        first = self.group_ends[group - 1] if group else 0
        return _texts(self.path, group, columns)[row - first]

    def read(self, row: int) -> bytes:
        ((_, found),) = islice(self.items(row), 1)
        if isinstance(found, BrokenImageError):
            raise found
        assert isinstance(found, bytes)
        return found

    def items(self, start: int) -> Iterator[Item]:
        """As `Shard.items`; row groups before `start` are not read, and what cannot be read of the
        others are broken images."""
        file: pq.ParquetFile | None = None
        row, first = start, 0
        for group, end in enumerate(self.group_ends):
            reason = "its row group ends before it"
            try:
                if row < end:
                    file = file if file is not None else _open(self.path)
                    for cell in _cells(file, group, self.column, skipped=row - first):
                        yield self.name(row), _image(cell)
                        row += 1
            except _UNREADABLE as error:
                reason = f"its row group cannot be read: {_one_line(error)}"
            while row < end:
                yield self.name(row), BrokenImageError(reason)
                row += 1
            first = end


def _cells(file: pq.ParquetFile, group: int, column: str, skipped: int) -> Iterator[object]:
    batches = file.iter_batches(
        _ROWS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False
    )
    cells = chain.from_iterable(batch.column(0) for batch in batches)
    return (cell.as_py() for cell in islice(cells, skipped, None))


@lru_cache(maxsize=16)
def _texts(path: str, group: int, columns: TextColumns) -> list[Texts]:
    """Those of a row group; none where it cannot be read, as its images cannot."""
    file = _open(path)
    names = [name for name in columns.among(file.schema_arrow.names, path) if name is not None]
    classes = datasets.Features.from_arrow_schema(file.schema_arrow)
    try:
        rows = file.read_row_group(group, columns=names, use_threads=False).to_pylist()
    except _UNREADABLE:
        return [Texts()] * file.metadata.row_group(group).num_rows
    return [columns.of(with_class_names(row, classes), path) for row in rows]


def _image(cell: object) -> bytes | BrokenImageError:
    try:
        return encoded_image(cell)
    except BrokenImageError as error:
        return error


def parquet_shards(paths: list[str], wanted: str | None) -> tuple[ParquetShard, ...]:
    """The shards of `paths`, their footers read.

    Raises UserError for one that cannot be read, and as `find_image_column`.
    """
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, paths))
    columns = [
        (path, found) for path, (ends, found) in zip(paths, footers, strict=True) if any(ends)
    ]
    column = find_image_column(columns, wanted) if columns else ""
    return tuple(
        ParquetShard(path, column, ends) for path, (ends, _) in zip(paths, footers, strict=True)
    )


def open_parquet(
    paths: list[str], label: str, wanted: str | None, streaming: bool, key: str
) -> Source:
    """Raises UserError as `parquet_shards`, for shards without any row, and where no copy can be
    made of them."""
    shards = parquet_shards(paths, wanted)
    filled = [shard for shard in shards if len(shard)]  # `datasets` fails at empty ones
    if not filled:
        raise UserError(f"{key}={label} holds no rows")
    if streaming:
        return Source(label, shards)
    require_cache(", or data.streaming=true, which needs none")
    column = filled[0].column
    try:
        table = datasets.Dataset.from_parquet(
            [shard.path for shard in filled],
            columns=[column],
            features=datasets.Features({column: datasets.Image(decode=False)}),
        )
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"{key}={label}: {_why_not_copied(filled, error)}") from error
    assert isinstance(table, datasets.Dataset)
    return open_tables(label, {label: table}, column)


def _why_not_copied(shards: list[ParquetShard], error: BaseException) -> str:
    """The shard that cannot be read; else what went wrong first."""
    for shard in shards:
        for _, found in shard.items(0):
            if isinstance(found, BrokenImageError) and "row group" in str(found):
                return (
                    f"{shard.path} cannot be read as parquet: {found}. Take it out, or set"
                    " data.streaming=true, which leaves out its damaged parts"
                )
    while error.__cause__ is not None:
        error = error.__cause__
    return f"`datasets` cannot copy it to {datasets.config.HF_DATASETS_CACHE}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _open(path: str) -> pq.ParquetFile:
    file_system, location = fsspec.core.url_to_fs(path)
    # Buffered column reads: a row group need not fit in memory at once.
    return pq.ParquetFile(file_system.open(location), buffer_size=2**20, pre_buffer=False)


def _footer(path: str) -> tuple[tuple[int, ...], datasets.Features]:
    """Where each row group ends, and the columns."""
    try:
        file = _open(path)
        groups = range(file.num_row_groups)
        ends = accumulate(file.metadata.row_group(group).num_rows for group in groups)
        return tuple(ends), datasets.Features.from_arrow_schema(file.schema_arrow)
    except MALFORMED as error:
        raise UserError(
            f"{path} cannot be read as parquet: {_one_line(error)}. Write it anew, or take it out"
        ) from error
