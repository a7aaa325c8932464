"""Which files a path stands for, and how they are opened, on this machine or elsewhere."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

from ldm_ae.data.formats import image_endings, unread_endings
from ldm_ae.data.walk import walk

_REMOTE_BLOCK = 2**16  # bytes asked for at once; the usual 5 MB would fetch what seeks skip

_log = logging.getLogger(__name__)


def find_images(folder: Path, key: str = "--images") -> list[Path]:
    """The image files below a folder, in any layout, sorted; `walk` says what is passed over.

    key: what the folder is called in messages, such as `data.path`. One log line counts pictures
    of formats that are not opened. Raises ValueError for no folder, or none in it.
    """
    return find_files(folder, image_endings(), key)


def find_files(folder: Path, endings: Collection[str], key: str) -> list[Path]:
    """`find_images` for other files; endings: `.tar` and so on, in small letters."""
    if not folder.exists():
        raise ValueError(f"{key}={folder}: no such folder")
    if not folder.is_dir():
        raise ValueError(f"{key}={folder} is a file: give the folder that holds it")
    found = walk(folder)
    files = [path for path in found.files if path.suffix.lower() in endings]
    images = endings == image_endings()
    passed_over = _passed_over(found.files) if images else ""
    if found.unread:
        _log.warning("%d places cannot be read, such as %s", len(found.unread), found.unread[0])
    if found.returning:
        _log.warning(
            "%d linked folders are not entered a second time, such as %s",
            len(found.returning),
            found.returning[0],
        )
    if passed_over:
        _log.warning("%s: left out %s, which are not opened here", folder, passed_over)
    if not files:
        kinds = " ".join(sorted(endings))
        what = f"image files, looked for at any depth ({kinds})" if images else f"{kinds} files"
        but = f"; it holds {passed_over}" if passed_over else ""
        raise ValueError(f"{key}={folder} holds no {what}{but}")
    return files


def _passed_over(files: list[Path]) -> str:
    """How many pictures of each kind are not opened, with what would help."""
    counts = Counter(path.suffix.lower() for path in files)
    return ", ".join(
        f"{counts[ending]} {ending}" + (f" ({remedy} reads them)" if remedy else "")
        for ending, remedy in unread_endings().items()
        if counts[ending]
    )


def shard_paths(pattern: str, suffix: str, key: str = "data.path") -> list[str]:
    """The shards of a path, each once: a file, all below a folder, a glob, braces, or URLs.

    `shards/{000..127}.tar` and `{a,b}/*.tar` are expanded as a shell does, and each of the
    results must exist. Raises ValueError naming `key` for what is not there.
    """
    path = Path(pattern)
    if path.is_dir():
        return [str(found) for found in find_files(path, (suffix,), key)]
    if path.is_file():
        return [pattern]
    files = []
    for part in expand_braces(pattern, key):
        matches = _matches(part)
        if not matches:
            raise ValueError(f"{key}={part}: no such file, folder or match")
        files += matches
    return list(dict.fromkeys(files))


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
        raise ValueError(f"{key}={pattern}: {{{body}}} is neither a range {{000..127}} nor {{a,b}}")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [part for choice in choices for part in expand_braces(f"{head}{choice}{tail}", key)]


def open_binary(path: str) -> BinaryIO:
    """A local path or any URL that fsspec knows, opened for reading and seeking.

    Opened anew in each worker process: neither file positions nor fsspec's connections survive
    a fork.
    """
    if "://" not in path:
        return open(path, "rb")
    file_system, location = fsspec.core.url_to_fs(path)
    return cast(BinaryIO, file_system.open(location, block_size=_REMOTE_BLOCK))
