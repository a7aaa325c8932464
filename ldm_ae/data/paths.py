"""Which files a path stands for, and how they are opened, on this machine or elsewhere."""

from __future__ import annotations

import codecs
import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, cast

import fsspec

from ldm_ae.data.formats import image_endings, unread_endings
from ldm_ae.data.walk import walk
from ldm_ae.distributed import world
from ldm_ae.errors import UserError
from ldm_ae.files import printable

_REMOTE_BLOCK = 2**16  # bytes asked for at once; the usual 5 MB would fetch what seeks skip

_log = logging.getLogger(__name__)


def tell(text: str, *values: object) -> None:
    """One line in the log of a run: the first process'."""
    if world()[0] == 0:
        _log.warning(text, *values)


def find_images(folder: Path, key: str = "--images", entered: set[str] | None = None) -> list[Path]:
    """The image files below a folder, in any layout, sorted; `walk` says what is passed over.

    key: what the folder is called in messages, such as `data.path`. entered: as in `walk`. One log
    line counts pictures of formats that are not opened. Raises UserError for no folder, or none in
    it.
    """
    return find_files(folder, image_endings(), key, entered)


def find_files(
    folder: Path, endings: Collection[str], key: str, entered: set[str] | None = None
) -> list[Path]:
    """`find_images` for other files; endings: `.tar` and so on, in small letters."""
    if not folder.exists():
        raise UserError(f"{key}={folder}: no such folder")
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is a file: name the folder that it is in")
    found = walk(folder, entered)
    files = [path for path in found.files if path.suffix.lower() in endings]
    passed_over = _passed_over(found.files, endings)
    if found.unread:
        tell("%d places cannot be read, such as %s", len(found.unread), found.unread[0])
    if found.returning:
        tell(
            "%d folders are not entered a second time, such as %s",
            len(found.returning),
            printable(str(found.returning[0])),
        )
    if passed_over:
        tell("%s: left out %s", printable(str(folder)), passed_over)
    if not files and folder not in found.returning:
        images = endings == image_endings()
        kinds = " ".join(sorted(endings))
        what = f"image files, looked for at any depth ({kinds})" if images else f"{kinds} files"
        but = f"; it holds {passed_over}" if passed_over else ""
        raise UserError(f"{key}={folder} holds no {what}{but}")
    return files


def _passed_over(files: list[Path], endings: Collection[str]) -> str:
    """What a folder holds of the same kind in another form, with what would help."""
    if endings != image_endings():
        packed = [p for p in files if is_packed(p.name) and PurePath(p.stem).suffix in endings]
        return f"{len(packed)} compressed ones ({packed[0].name}): unpack them" if packed else ""
    counts = Counter(path.suffix.lower() for path in files)
    named = []
    for ending, remedy in unread_endings().items():
        if counts[ending]:
            named.append(f"{counts[ending]} {ending}" + (f" (first {remedy})" if remedy else ""))
    return ", ".join(named) + " that are not opened here" if named else ""


def listed(path: str | Sequence[str], key: str) -> tuple[str, list[str]]:
    """What a path stands for: a root and the places below it.

    A list is itself, a text file (`.txt`) its lines, relative to its folder. Raises UserError for
    a text file without any.
    """
    if not isinstance(path, str):
        return "", list(path)
    if not path.endswith(".txt") or not Path(path).is_file():
        return "", [path]
    lines = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    places = [os.fsdecode(line) for line in lines if line.strip()]
    if not places:
        raise UserError(f"{key}={path} lists no paths: write one a line")
    return str(Path(path).parent), places


def shard_paths(path: str | Sequence[str], suffix: str, key: str = "data.path") -> list[str]:
    """The shards of a path or list (`listed`), each once: files, all below folders, globs, braces,
    URLs.

    `shards/{000..127}.tar` and `{a,b}/*.tar` are expanded as a shell does, and each of the
    results must exist. Raises UserError naming `key` for what is not there.
    """
    root, places = listed(path, key)
    entered: set[str] = set()
    found: list[str] = []
    for place in places:
        pattern = place if "://" in place else os.path.join(root, place)
        if os.path.isdir(pattern):
            found += map(str, find_files(Path(pattern), (suffix,), key, entered))
        elif os.path.isfile(pattern):
            found.append(pattern)
        else:
            for part in expand_braces(pattern, key):
                matches = _matches(part)
                if not matches:
                    raise UserError(f"{key}={part}: no such file, folder or match")
                found += matches
    once: dict[str, str] = {}
    for shard in found:
        once.setdefault(shard if "://" in shard else os.path.realpath(shard), shard)
    return list(once.values())


def _matches(pattern: str) -> list[str]:
    if "://" not in pattern:
        return sorted(p for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
    if "*" not in pattern:
        return [pattern]  # opened soon enough; not every server can be asked
    file_system, location = fsspec.core.url_to_fs(pattern)
    return sorted(file_system.unstrip_protocol(found) for found in file_system.glob(location))


def expand_braces(pattern: str, key: str = "data.path") -> list[str]:
    """`a{08..10}b` => a08b, a09b, a10b; `{x,y}z` => xz, yz; several braces in every combination."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    body = match[1]
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", body):
        first, last = span.groups()
        width = len(first) if first.startswith("0") else 0
        choices = [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    else:
        choices = body.split(",") if "," in body else []
    if not choices:
        raise UserError(f"{key}={pattern}: {{{body}}} is neither a range {{000..127}} nor {{a,b}}")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [part for choice in choices for part in expand_braces(f"{head}{choice}{tail}", key)]


def is_packed(name: str) -> bool:
    """Whether a file's name says that it is compressed as a whole."""
    return name.lower().endswith((".gz", ".tgz", ".bz2", ".xz", ".zst"))


def open_binary(path: str) -> BinaryIO:
    """A local path or any URL that fsspec knows, opened for reading and seeking.

    Opened anew in each worker process: neither file positions nor fsspec's connections survive
    a fork.
    """
    if "://" not in path:
        return open(path, "rb")
    file_system, location = fsspec.core.url_to_fs(path)
    return cast(BinaryIO, file_system.open(location, block_size=_REMOTE_BLOCK))
