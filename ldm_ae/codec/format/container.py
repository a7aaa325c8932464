"""The bytes of an .lae file around its payload; `FORMAT.md` describes them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.errors import UserError

MAGIC = b"LAE"
VERSION = 1
DIGEST_BYTES = 8
MAX_SIDE = 16_384
MAX_PIXELS = MAX_SIDE**2  # 2^28: what a header may ask memory for
MAX_BYTES = 1 << 29  # of a whole file: a bound for readers; no picture comes near

_HEADER = struct.Struct(f"<3sB{DIGEST_BYTES}sBBHHI")
_LENGTH = struct.Struct("<I")
_CHECKSUM = struct.Struct("<I")
_INDICES, _GREY, _ALPHA = 1, 2, 4


@dataclass(frozen=True)
class Header:
    """What a file says of its picture.

    digest: of the model and prior that wrote it. indices: the payload holds code indices, not
    quantised latents. grey: one channel. quality: of the latents, 0..63; 0 for indices.
    """

    digest: bytes
    indices: bool
    grey: bool
    width: int
    height: int
    quality: int


@dataclass(frozen=True)
class LaeFile:
    """header, payload and the packed alpha plane; None: no alpha."""

    header: Header
    payload: bytes
    alpha: bytes | None


def require_size(width: int, height: int) -> None:
    """Raise UserError for a picture larger than the format allows."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UserError(f"a picture of {width}x{height}: the sides must lie in 1..{MAX_SIDE}")


def write(file: LaeFile) -> bytes:
    """The file's bytes. Raises UserError for a size the format does not allow."""
    header = file.header
    require_size(header.width, header.height)
    flags = _INDICES * header.indices | _GREY * header.grey | _ALPHA * (file.alpha is not None)
    start = _HEADER.pack(
        MAGIC,
        VERSION,
        header.digest,
        flags,
        header.quality,
        header.width,
        header.height,
        len(file.payload),
    )
    alpha = b"" if file.alpha is None else _LENGTH.pack(len(file.alpha)) + file.alpha
    content = start + file.payload + alpha
    return content + _CHECKSUM.pack(zlib.crc32(content))


def read_file(path: Path) -> bytes:
    """The content of an .lae file. Raises UserError if it cannot be read, or is longer than any
    can be."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} is longer than any .lae file")
    return data


def read(data: bytes) -> LaeFile:
    """The parts of a file. Raises UserError for bytes that are no such file, are of a later
    version, are cut short, or do not match their checksum."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UserError(
            f"an .lae file is given by its bytes, not as {type(data).__name__}: read it"
        )
    if data[: len(MAGIC)] != MAGIC:
        raise UserError("this is no .lae file: it does not begin with LAE")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise UserError(
            f"this .lae file has format version {data[len(MAGIC)]}, this program reads"
            f" {VERSION}: use the version of ldm_ae that wrote it"
        )
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise UserError(f"this .lae file is cut short: it has {len(data)} bytes")
    _, _, digest, flags, quality, width, height, length = _HEADER.unpack_from(data)
    content = memoryview(data)[: -_CHECKSUM.size]
    body = content[_HEADER.size :]
    if length > len(body):
        raise UserError(
            f"this .lae file is cut short: {length} bytes of payload are announced, at most"
            f" {len(body)} are there"
        )
    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    if zlib.crc32(content) != checksum:
        raise UserError("this .lae file is damaged: its checksum does not match")
    _require_known(flags, quality)
    require_size(width, height)
    header = Header(digest, bool(flags & _INDICES), bool(flags & _GREY), width, height, quality)
    return LaeFile(header, bytes(body[:length]), _alpha(body[length:], bool(flags & _ALPHA)))


def _require_known(flags: int, quality: int) -> None:
    if flags & ~(_INDICES | _GREY | _ALPHA):
        raise UserError(f"this .lae file has unknown flags {flags:#04x}")
    if quality >= (1 if flags & _INDICES else NUM_QUALITIES):
        raise UserError(f"this .lae file has an unknown quality {quality}")


def _alpha(rest: memoryview, present: bool) -> bytes | None:
    if not present:
        if len(rest):
            raise UserError(f"this .lae file has {len(rest)} bytes too many")
        return None
    if len(rest) < _LENGTH.size:
        raise UserError("this .lae file is cut short in its alpha plane")
    (length,) = _LENGTH.unpack_from(rest)
    plane = rest[_LENGTH.size :]
    if length != len(plane):
        raise UserError(f"this .lae file has {len(plane)} bytes of alpha, {length} are announced")
    return bytes(plane)
