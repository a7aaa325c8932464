"""WebDataset tar shards: an index of their images, read once from the headers alone.

A sample is the members whose paths agree up to the base name's first dot (`a/000.jpg`,
`a/000.json`); of each sample one image is used and the rest ignored. Nothing is extracted.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from ldm_ae.data.bounds import BOUNDS, BrokenImageError
from ldm_ae.data.formats import is_image_name
from ldm_ae.data.paths import is_packed, open_binary
from ldm_ae.data.source import Item, Names, Shard, Source
from ldm_ae.data.tar_headers import MAX_HEADER_BYTES, members
from ldm_ae.data.texts import TextColumns, Texts
from ldm_ae.data.walk import is_hidden
from ldm_ae.errors import UserError
from ldm_ae.files import printable

MAX_BYTES = 4 * BOUNDS.max_pixels  # of one encoded image: the largest one, uncompressed RGBA

_ODD = "surrogatepass"  # for names that are not UTF-8
_WORDS = ("txt", "caption", "cls", "json")  # extensions of members that hold texts
_SAMPLE = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)  # key, extension


@dataclass(frozen=True)
class TarShard(Shard):
    """Where the images of one tar file lie, in file order.

    names: the members' paths. offsets, sizes: (N,) int64, in bytes. max_bytes: of one image.
    """

    path: str
    names: Names
    offsets: np.ndarray
    sizes: np.ndarray
    max_bytes: int = MAX_BYTES

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return printable(f"{self.path} {self.names[row].decode('utf-8', _ODD)}")

    def key(self, row: int) -> str:
        sample = _SAMPLE.fullmatch(self.names[row].decode("utf-8", _ODD))
        assert sample is not None
        return printable(f"{PurePosixPath(self.path).stem}/{sample[1]}")

    def texts(self, row: int, columns: TextColumns) -> Texts:
        """Of the sample's members `.txt` or `.caption` and `.cls`, or of its `.json`."""
        sample = _SAMPLE.fullmatch(self.names[row].decode("utf-8", _ODD))
        assert sample is not None
        places = _word_members(self.path).get(sample[1], {})
        with self._opened() as file:
            cells = {ending: _words(file, *place) for ending, place in places.items()}
        with contextlib.suppress(ValueError):
            inner = json.loads(cells.pop("json", "{}"))
            cells = inner | cells if isinstance(inner, dict) else cells
        return columns.of(cells, self.path)

    def read(self, row: int) -> bytes:
        """The encoded image of one row. Raises BrokenImageError as `_payload`."""
        with self._opened() as file:
            return self._payload(file, row)

    def items(self, start: int) -> Iterator[Item]:
        """The images from row `start` on, front to back."""
        try:
            opened = self._opened()
        except BrokenImageError as error:  # of every image in it
            yield from ((self.name(row), error) for row in range(start, len(self)))
            return
        with opened as file:
            for row in range(start, len(self)):
                try:
                    yield self.name(row), self._payload(file, row)
                except BrokenImageError as error:
                    yield self.name(row), error

    def _opened(self) -> BinaryIO:
        try:
            return open_binary(self.path)
        except OSError as error:
            raise BrokenImageError(f"the shard cannot be opened: {error.strerror}") from error

    def _payload(self, file: BinaryIO, row: int) -> bytes:
        """Raises BrokenImageError where the size is beyond reason, or the file got shorter."""
        size = int(self.sizes[row])
        if size > self.max_bytes:
            raise BrokenImageError(f"{size} bytes is more than {self.max_bytes} (max_pixels)")
        try:
            file.seek(int(self.offsets[row]))
            payload = file.read(size)
        except OSError as error:
            raise BrokenImageError(f"the shard cannot be read: {error.strerror}") from error
        if len(payload) < size:
            raise BrokenImageError(f"the shard ends within it: {len(payload)} of {size} bytes")
        return payload


def open_tars(
    paths: list[str], label: str, extension: str | None, key: str, max_bytes: int = MAX_BYTES
) -> Source:
    """The images of several shards, in order, their headers read.

    extension: which member of a sample is its image (`jpg`, `seg.png`, without regard to case);
        by default the one that ends like an image file. `*.jpg`: each member that ends so is one.
    Raises UserError naming the shard for one that is missing, compressed, damaged or cut off,
    for samples with several images where `extension` does not choose, and for no image at all.
    """
    with ThreadPoolExecutor(16) as pool:  # mostly for the waiting of remote files
        shards = tuple(pool.map(lambda path: index_tar(path, extension, max_bytes), paths))
    if not any(len(shard) for shard in shards):
        wanted = f"the extension {extension} of data.image_column" if extension else "image files"
        raise UserError(
            f"{key}={label} holds no images: {len(paths)} shards without {wanted}; the first one"
            f" has {_some_endings(paths[0])}"
        )
    return Source(label, shards)


def index_tar(path: str, extension: str | None = None, max_bytes: int = MAX_BYTES) -> TarShard:
    """One shard's index; errors as `open_tars`."""
    try:
        with open_binary(path) as file:
            found = _images(path, file, extension)
    except (OSError, tarfile.TarError) as error:
        packed = "Unpack it" if is_packed(path) else "Write it anew"
        raise UserError(
            f"{path} cannot be read as an uncompressed tar shard: {error}. {packed}, or take it out"
        ) from error
    names = Names(name.encode("utf-8", _ODD) for name, _, _ in found)
    places = np.array([place for _, *place in found], dtype=np.int64).reshape(-1, 2)
    return TarShard(path, names, places[:, 0], places[:, 1], max_bytes)


def _images(path: str, file: BinaryIO, extension: str | None) -> list[tuple[str, int, int]]:
    """(name, offset, size) of each sample's image."""
    found: dict[str, tuple[str, int, int]] = {}
    endings: dict[str, str] = {}
    for member in members(file):
        match = _SAMPLE.fullmatch(member.name)
        hidden = any(is_hidden(part) and part != ".." for part in PurePosixPath(member.name).parts)
        if match is None or hidden or not member.isreg() or member.issparse():
            continue
        sample, ending = match[1], match[2].lower()
        if extension is not None and extension.startswith("*."):
            if not f".{ending}".endswith(extension[1:].lower()):
                continue
            sample = member.name
        elif extension is None:
            if not is_image_name(member.name):
                continue
            if endings.setdefault(sample, ending) != ending:
                raise UserError(f"{path}: {_which(sample, endings[sample], ending)}")
        elif ending != extension.lower():
            continue
        # A path that comes again replaces the former one, as it would on extraction.
        found[sample] = (member.name, member.offset_data, member.size)
    return list(found.values())


@lru_cache(maxsize=4)
def _word_members(path: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Sample -> extension -> (offset, size) of its members of text."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    with open_binary(path) as file:
        for member in members(file):
            match = _SAMPLE.fullmatch(member.name)
            if match is not None and match[2].lower() in _WORDS and member.isreg():
                place = (member.offset_data, min(member.size, MAX_HEADER_BYTES))
                found.setdefault(match[1], {})[match[2].lower()] = place
    return found


def _words(file: BinaryIO, offset: int, size: int) -> str:
    file.seek(offset)
    return file.read(size).decode("utf-8", "replace").strip()


def _which(sample: str, first: str, second: str) -> str:
    """What to do about two images of one sample: they are views of it, or its name has dots."""
    kind = first.rpartition(".")[2]
    dots = f", or, if each is a sample of its own, data.image_column=*.{kind}"
    return (
        f"sample {printable(sample)} has the images .{first} and .{second}: set"
        f" data.image_column={first} or data.image_column={second}, whichever is to be trained on"
        + (dots if second.endswith(f".{kind}") else "")
    )


def _some_endings(path: str) -> str:
    """The endings of a shard's first members, for a message."""
    with open_binary(path) as file:
        names = (PurePosixPath(member.name).name for member in islice(members(file), 1000))
        found = sorted({"." + name.partition(".")[2] for name in names})
    return ", ".join(printable(ending) for ending in found[:10]) or "no members"
