"""One process, one folder: a lock that ends with its process, however that dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ldm_ae.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path, key: str) -> Iterator[None]:
    """Holds the folder's lock. A folder that is made for it and stays empty goes again. key: what
    the folder is called in messages. Raises UserError if another process has it.

    The lock is the process' own: workers that it forked do not keep it when it is killed.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _acquire(path, key)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        if [entry.name for entry in folder.iterdir()] == [LOCK]:
            path.unlink()
            with contextlib.suppress(OSError):  # someone else's files have come
                for empty in made:
                    empty.rmdir()
        file.close()


def _acquire(path: Path, key: str) -> TextIO:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise OSError(error.errno, f"cannot lock {path}: {error.strerror}") from error
            raise UserError(
                f"{key}={path.parent} is in use by {path.read_text(encoding='utf-8')}: wait until"
                f" it ends, stop it, or choose another {key}"
            ) from error
        # Whoever held it may have removed the file before it let go.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()
