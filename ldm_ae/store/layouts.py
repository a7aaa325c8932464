"""Rows to files and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ldm_ae.errors import UserError
from ldm_ae.files import replacing, write_through
from ldm_ae.store.rows import Row


class Layout(ABC):
    """The files of a store, by the numbers of its parts."""

    ending: ClassVar[str]

    def write(self, folder: Path, number: int, rows: Sequence[Row]) -> dict[str, int]:
        """Writes a part's files, none without rows; returns their sizes by name. By its name a
        file is read whole or as it was."""
        if not rows:
            return {}
        path = folder / f"shard-{number:05d}{self.ending}"
        return {path.name: written(path, self.to_bytes(rows))}

    @abstractmethod
    def to_bytes(self, rows: Sequence[Row]) -> bytes:
        """One file of these rows."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Row]:
        """All rows of a file. Raises UserError for what is none."""

    @abstractmethod
    def row(self, path: Path, number: int) -> Row:
        """One row of a file. Raises UserError likewise."""


def written(path: Path, content: bytes) -> int:
    """Replace a file as a whole; returns its size."""
    with replacing(path) as aside:
        write_through(aside, content)
    return len(content)


def read_all(layout: Layout, folder: Path, files: Mapping[str, int]) -> Iterator[Row]:
    """The rows of a part's files."""
    for name in files:
        yield from layout.read(folder / name)


def stamp(path: Path) -> tuple[int, int]:
    """What tells a file from the one that replaced it. Raises UserError for none."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read as a shard: {error.strerror}") from error
    return found.st_ino, found.st_mtime_ns
