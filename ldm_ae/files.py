"""Files and folders that are either whole or not there."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; renames it to `path` once the block succeeds.

    The folder is made if need be. After an error `path` is as it was and nothing is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem[:40]  # a name may be as long as names can be already
    aside = path.with_name(f".{stem}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def printable(text: str) -> str:
    """A name as it can be written anywhere: with escapes for control characters, and for bytes
    that are not UTF-8."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it lies on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries lie on the disk: a rename is only there after that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space, or no quota, is left."""
    number = getattr(error, "errno", None)
    # safetensors gives the system's error as text only.
    texts = ("No space left on device", "os error 28", "Disk quota exceeded")
    return number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in texts)
