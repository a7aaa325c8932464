"""Tables of `datasets`: Arrow files that are mapped into memory and read by row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import datasets
import pyarrow as pa

from ldm_ae.data.columns import (
    encoded_image,
    find_image_column,
    text_columns,
    with_class_names,
)
from ldm_ae.data.source import Shard, Source
from ldm_ae.data.texts import TextColumns, Texts
from ldm_ae.errors import UserError
from ldm_ae.json_file import read_json

# What `save_to_disk` writes beside its tables, and beside the folders of several splits.
_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"

# What reading a table can raise: of its place, its bytes, and its description of its columns.
MALFORMED = (OSError, pa.ArrowException, ValueError, AttributeError, KeyError, TypeError)


@dataclass(frozen=True)
class TableShard(Shard):
    """A table with an undecoded image column.

    words: the columns that are neither images nor large.
    files_below: folders where the files lie that rows may name; none for a table whose rows are
        somebody else's.
    """

    label: str
    table: datasets.Dataset
    column: str
    files_below: tuple[str, ...] = ()
    words: datasets.Dataset | None = None

    def __len__(self) -> int:
        return len(self.table)

    def name(self, row: int) -> str:
        return f"{self.label} row {row}"

    def key(self, row: int) -> str:
        return f"{PurePath(self.label).stem}/{row:07d}"

    def texts(self, row: int, columns: TextColumns) -> Texts:
        if self.words is None:
            return Texts()
        cells = with_class_names(self.words[row], self.words.features)
        return columns.of(cells, self.label)

    def read(self, row: int) -> str | bytes:
        cell = self.table[row][self.column]
        if self.files_below and isinstance(cell, dict) and cell.get("bytes") is None:
            path = os.path.realpath(cell.get("path") or "")
            if any(Path(path).is_relative_to(folder) for folder in self.files_below):
                return path
        return encoded_image(cell)


def open_tables(
    label: str,
    tables: dict[str, datasets.Dataset],
    wanted: str | None,
    files_below: tuple[str, ...] = (),
) -> Source:
    """The rows of tables, by what to call them. Raises UserError as `find_image_column`, and for
    tables without rows."""
    filled = {name: table for name, table in tables.items() if len(table)}
    if not filled:
        raise UserError(f"{label} holds no rows")
    column = find_image_column([(name, t.features) for name, t in filled.items()], wanted)
    shards = []
    for name, table in filled.items():
        words = table.select_columns(text_columns(table.features))
        table = table.select_columns([column])
        if isinstance(table.features[column], datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
        shards.append(TableShard(name, table, column, files_below, words))
    return Source(label, tuple(shards))


def open_saved(folders: list[str], split: str, label: str, wanted: str | None, key: str) -> Source:
    """The folders that `datasets`' `save_to_disk` wrote. Raises UserError for others, and as
    `open_tables`."""
    files = [file for folder in folders for file in _saved_files(Path(folder), split, key)]
    tables = {}
    for file in files:
        try:
            tables[str(file)] = datasets.Dataset.from_file(str(file))
            # Arrow trusts what it maps: an offset beyond the file's end would crash the process.
            tables[str(file)].data.table.validate(full=True)
        except MALFORMED as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{file} cannot be read as an Arrow table: {reason}") from error
    return open_tables(label, tables, wanted)


def _saved_files(folder: Path, split: str, key: str) -> Iterator[Path]:
    """The Arrow files of a saved data set, or of one split of several."""
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: no such folder")
    if (folder / _SPLITS).is_file():
        splits = sorted(path.parent.name for path in folder.glob(f"*/{_STATE}"))
        if split not in splits:
            raise UserError(f"data.split={split}: {key}={folder} has the splits {splits}")
        folder = folder / split
    if not (folder / _STATE).is_file():
        raise UserError(
            f"{key}={folder} has no {_STATE}: give a folder that `save_to_disk` of the package"
            " `datasets` wrote"
        )
    try:
        files = read_json(folder / _STATE)["_data_files"]
        names = [str(entry["filename"]) for entry in files]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f"{folder / _STATE} does not list its tables: {error!r}") from error
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{folder / _STATE} names a table outside of its folder: {name!r}")
        yield folder / name


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    of_one = (folder / _STATE).is_file() and (folder / _INFO).is_file()
    return of_one or (folder / _SPLITS).is_file()


def require_cache(otherwise: str = "") -> None:
    """Raise UserError where the cache of `datasets`, which tables are copied to, cannot be
    written: it would look as if the data could not be read. otherwise: another way out."""
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        raise UserError(
            f"the cache of the package `datasets`, {cache}, cannot be written ({error.strerror}):"
            f" set the variable HF_DATASETS_CACHE to a folder with room{otherwise}"
        ) from error
