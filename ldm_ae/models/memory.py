"""How much memory a call may take, and where its values lie that do not fit."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

import torch
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.files import is_disk_full

_UNITS = {prefix + "b": 1000**i for i, prefix in enumerate(("", "k", "m", "g", "t"))}
_UNITS |= {prefix + "ib": 1024**i for i, prefix in enumerate(("", "k", "m", "g", "t")) if i}


def num_bytes(max_memory: int | str) -> int:
    """A number of bytes, or one with its unit: 2_000_000_000, "2GB", "1.5 GiB". Raises UserError
    for anything else."""
    found: float = max_memory if type(max_memory) is int else 0
    if isinstance(max_memory, str):
        parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", max_memory.strip().lower())
        if parts is not None:
            found = float(parts[1]) * _UNITS.get(parts[2] or "b", 0)
    if not 1 <= found < float("inf"):
        raise UserError(
            f"max_memory={max_memory!r}: use a number of bytes, or one with a unit, as 2GB or"
            " 512MiB"
        )
    return int(found)


def in_units(count: float) -> str:
    """Bytes as a message has them."""
    units = ["kB", "MB", "GB"]
    while (count := count / 1000) >= 1000 and len(units) > 1:
        units.pop(0)
    return f"{count:.3g} {units[0]}"


class Storage:
    """Values one after another: the first of them in memory, the others in a file."""

    def __init__(self, head: Tensor, file: IO[bytes] | None) -> None:
        self._head, self._file = head, file

    def read(self, start: int, stop: int) -> Tensor:
        """Values start..stop, (stop - start,). May be a view: it is not to be written to."""
        held = len(self._head)
        if stop <= held:
            return self._head[start:stop]
        assert self._file is not None
        tail = torch.empty(stop - max(start, held), dtype=self._head.dtype)
        self._file.seek((max(start, held) - held) * tail.itemsize)
        self._file.readinto(_bytes(tail))  # type: ignore[attr-defined]
        tail = tail.to(self._head.device)
        return tail if start >= held else torch.cat([self._head[start:], tail])

    def write(self, start: int, values: Tensor) -> None:
        """values: (n,)."""
        in_memory = max(min(len(self._head) - start, len(values)), 0)
        if in_memory:
            self._head[start : start + in_memory] = values[:in_memory]
        if in_memory < len(values):
            assert self._file is not None
            self._file.seek((start + in_memory - len(self._head)) * values.itemsize)
            self._file.write(_bytes(values[in_memory:].to(self._head.dtype).cpu()))

    def close(self) -> int:
        """Returns the bytes of memory that it held."""
        if self._file is not None:
            self._file.close()
        held = self._head.nbytes
        self._head = self._head[:0].clone()
        return held


class Workspace:
    """Memory of a limited size; what is more goes into files without a name, which are gone
    when they are closed, and with the process whatever ends it."""

    def __init__(self, limit: int, device: torch.device) -> None:
        """limit: bytes of all storages together, in memory."""
        self._left, self._device = limit, device
        self._open: list[Storage] = []

    def store(self, count: int, dtype: torch.dtype) -> Storage:
        """Raises UserError if the disk has no room for what does not fit in memory."""
        held = min(count, max(self._left, 0) // dtype.itemsize)
        file = _nameless_file((count - held) * dtype.itemsize) if held < count else None
        storage = Storage(torch.empty(held, dtype=dtype, device=self._device), file)
        self._left -= held * dtype.itemsize
        self._open.append(storage)
        return storage

    def release(self, storage: Storage) -> None:
        self._open.remove(storage)
        self._left += storage.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for storage in list(self._open):
            self.release(storage)


def _nameless_file(size: int) -> IO[bytes]:
    folder = _spill_folder()
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, its storage closes it
    try:
        if hasattr(os, "posix_fallocate"):  # an error now instead of in an hour
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        file.close()
        if not is_disk_full(error):
            raise
        raise UserError(
            f"{in_units(size)} of activations exceed max_memory, and {folder} has no room for them:"
            " free some, name another folder in TMPDIR, or raise max_memory"
        ) from error
    return file


def _spill_folder() -> Path:
    """TMPDIR, or /var/tmp, which lies on a disk where /tmp may be memory."""
    persistent = Path("/var/tmp")
    if not os.environ.get("TMPDIR") and os.access(persistent, os.W_OK):
        return persistent
    return Path(tempfile.gettempdir())


def _bytes(values: Tensor) -> memoryview:
    return values.contiguous().view(torch.uint8).numpy().data
