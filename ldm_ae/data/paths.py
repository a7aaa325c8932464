"""Which files a path stands for, and how they are opened, on this machine or elsewhere."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

FORMATS = "avif bmp gif jfif jp2 jpe jpeg jpg pgm png pnm ppm tga tif tiff webp"
EXTENSIONS = frozenset(f".{name}" for name in FORMATS.split(" "))

_REMOTE_BLOCK = 2**16  # bytes asked for at once; the usual 5 MB would fetch what seeks skip


def shard_paths(pattern: str, suffix: str, key: str = "data.path") -> list[str]:
    """The shards of a path, each once: a file, all below a folder, a glob, braces, or URLs.

    `shards/{000..127}.tar` and `{a,b}/*.tar` are expanded as a shell does, and each of the
    results must exist. Raises ValueError naming `key` for what is not there.
    """
    path = Path(pattern)
    if path.is_dir():
        files = sorted(str(p) for p in path.rglob(f"*{suffix}") if p.is_file())
        if not files:
            raise ValueError(f"{key}={pattern} holds no {suffix} files")
        return files
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
