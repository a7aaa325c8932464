"""Tables of `datasets`: Arrow files that are mapped into memory and read by row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import datasets

from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.source import Shard, Source


@dataclass(frozen=True)
class TableShard(Shard):
    """A table with an undecoded image column.

    files_below: folders where the files lie that rows may name; none for a table whose rows are
        somebody else's.
    """

    label: str
    table: datasets.Dataset
    column: str
    files_below: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def name(self, row: int) -> str:
        return f"{self.label} row {row}"

    def read(self, row: int) -> str | bytes:
        cell = self.table[row][self.column]
        if self.files_below and isinstance(cell, dict) and cell.get("bytes") is None:
            path = os.path.realpath(cell.get("path") or "")
            if any(Path(path).is_relative_to(folder) for folder in self.files_below):
                return path
        return encoded_image(cell)


def open_table(
    label: str,
    table: datasets.Dataset,
    wanted: str | None,
    files_below: tuple[str, ...] = (),
) -> Source:
    """Raises ValueError as `find_image_column`, and for a table without rows."""
    column = find_image_column(table.features, wanted, label)
    table = table.select_columns([column])
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    if len(table) == 0:
        raise ValueError(f"{label} holds no rows")
    return Source(label, (TableShard(label, table, column, files_below),))
