"""Files and folders that are either whole or not there."""

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

_ASIDE = re.compile(r"\..*\.(?P<host>[^.]+)-(?P<process>\d+)(\.[^.]*)?")


def aside_of(path: Path, suffix: str | None = None) -> Path:
    """A hidden name beside `path` that says which process writes there.

    suffix: that of `path` by default, since writers go by it.
    """
    stem = path.stem[:40]  # a name may be as long as names can be already
    suffix = path.suffix if suffix is None else suffix
    return path.with_name(f".{stem}.{_host()}-{os.getpid()}{suffix}")


def _host() -> str:
    return socket.gethostname().partition(".")[0][:20]


def clear_stale(folder: Path, sole: bool = False) -> None:
    """Remove what processes of this machine that were killed have left under `aside_of` names.

    sole: nobody else can be writing in the folder, so that every such name goes.
    """
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        name = _ASIDE.fullmatch(entry.name)
        if name is None or not (sole or _is_over(name["host"], int(name["process"]))):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _is_over(host: str, process: int) -> bool:
    """Whether it was of this machine and is no more; this process has not begun to write yet."""
    if host != _host() or process == os.getpid():
        return host == _host()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # someone else's, or no process at all
    return False


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; renames it to `path` once the block succeeds.

    The folder is made if need be. After an error `path` is as it was and nothing is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory. Of torch's allocators only the GPU's has a
    class for it."""
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError")
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space, or no quota, is left."""
    number = getattr(error, "errno", None)
    # safetensors gives the system's error as text only.
    texts = ("No space left on device", "os error 28", "Disk quota exceeded")
    return number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in texts)
