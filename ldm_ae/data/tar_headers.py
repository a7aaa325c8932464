"""The headers of a tar file that may be damaged, or made to fill the memory."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

MAX_HEADER_BYTES = 2**20  # of one long name or extended header


def members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Every member's header. Raises tarfile.ReadError for a tar that is damaged or cut off, and
    for headers that stand before headers without end, or hold what is no number or no text."""
    try:
        yield from _headers(file)
    except (RecursionError, ValueError, LookupError, ArithmeticError) as error:
        raise tarfile.ReadError(f"a header is damaged ({type(error).__name__})") from error


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
        while (member := tar.next()) is not None:
            if member.size < 0 or member.offset_data + member.size > end:
                raise tarfile.ReadError(f"it ends within {member.name} (byte {member.offset_data})")
            yield member
            tar.members.clear()  # tarfile keeps them all
        # tarfile takes a damaged header for the end of the archive. A true end is zeros, or
        # the file's end.
        file.seek(tar.offset)
        block = file.read(tarfile.BLOCKSIZE)
        if len(block) not in (0, tarfile.BLOCKSIZE) or any(block):
            raise tarfile.ReadError(f"there is no valid header at byte {tar.offset}")


class _Headers:
    """A file that refuses long reads, so that no header can make tarfile fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes at byte {self.tell()}")
        return self._file.read(size)
