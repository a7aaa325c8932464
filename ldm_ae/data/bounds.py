"""Opening pictures that strangers made: only the formats we name, and none beyond its bounds.

A file of a few hundred kilobytes can ask for gigabytes and minutes; what it asks for is known
before its pixels are decoded.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ldm_ae.data.formats import formats
from ldm_ae.errors import UserError

_MAX_SCANS = 16  # of a JPEG with the most pixels; libjpeg writes ten, seconds are left for smaller
_START_OF_SCAN = b"\xff\xda"
_CHUNK = 2**20


class BrokenImageError(UserError):
    """One image cannot be used; the message says why. Whoever reads many leaves it out, names and
    counts it, and goes on."""


@dataclass(frozen=True)
class Bounds:
    """max_pixels: of a picture; equals Pillow's own bound. A progressive JPEG is decoded once per
    scan: its scans times its pixels may come to 16 times as many. max_side: of width and height;
    each row costs memory of its own."""

    max_pixels: int = 89_478_485
    max_side: int = 65_535

    def check(self, image: Image.Image) -> None:
        """Raise BrokenImageError for a picture that is too large."""
        width, height = image.size
        if width * height > self.max_pixels:
            raise BrokenImageError(
                f"{width}x{height} is more than {self.max_pixels} pixels (max_pixels)"
            )
        if max(width, height) > self.max_side:
            raise BrokenImageError(
                f"{width}x{height} has a side of more than {self.max_side} pixels (max_side)"
            )


BOUNDS = Bounds()


@contextmanager
def opened(source: str | Path | bytes, bounds: Bounds = BOUNDS) -> Iterator[Image.Image]:
    """The picture of a file or of its bytes, not decoded yet and within bounds.

    Whatever opening it and the block raise becomes a BrokenImageError, but for MemoryError.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise BrokenImageError("is no file")  # a pipe would never end
        with _pillow_s_bound(bounds.max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decoders warn of odd metadata, per image
            with Image.open(stream, formats=tuple(formats())) as image:
                bounds.check(image)
                _check_scans(image, bounds)
                yield image
    except (BrokenImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BrokenImageError(f"more than {bounds.max_pixels} pixels ({error})") from error
    except Image.UnidentifiedImageError as error:
        kinds = " ".join(sorted(formats()))
        raise BrokenImageError(f"a picture of no format that is opened here ({kinds})") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
        raise BrokenImageError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _pillow_s_bound(max_pixels: int) -> Iterator[None]:
    """Pillow refuses twice its own number of pixels by itself."""
    before = Image.MAX_IMAGE_PIXELS
    if before is not None and before < max_pixels:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_scans(image: Image.Image, bounds: Bounds) -> None:
    """Raise BrokenImageError for a JPEG of too many scans for its size."""
    if not isinstance(image, JpegImageFile):
        return
    file = image.fp  # behind the header of the first scan
    assert file is not None
    place = file.tell()
    file.seek(max(0, place - 8 - 2 * len(image.getbands())))
    in_one_scan = file.read(2) == _START_OF_SCAN  # a header that long is of all components
    if image.info.get("progressive") or not in_one_scan:
        most = _MAX_SCANS * bounds.max_pixels // (image.width * image.height)
        file.seek(0)
        if _count_scans(file, most) > most:
            raise BrokenImageError(
                f"{image.width}x{image.height} in more than {most} scans (max_pixels)"
            )
    file.seek(place)


def _count_scans(file: IO[bytes], most: int) -> int:
    """How many scans begin in a JPEG; those of a preview within it count too."""
    count, last = 0, b""
    while count <= most and (chunk := file.read(_CHUNK)):
        count += (last + chunk).count(_START_OF_SCAN)
        last = chunk[-1:]
    return count
