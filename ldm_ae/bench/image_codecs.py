"""Image codecs as Pillow runs them: the curves to compare a latent space with.

`TUNED` has each format as someone would set it who wants small files; other variants can be given,
such as none of Pillow's options: JPEG with 4:2:0 chroma and standard Huffman tables, lossy WebP
with method 4. The rate is the size of the file, header included.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np
from PIL import AvifImagePlugin, Image, features

from ldm_ae.bench.coder import Pixels, Point
from ldm_ae.errors import UserError

RAW_BITS_PER_PIXEL = 24

Format = Literal["avif", "webp", "jpeg", "jxl", "jpeg2000"]
Options = tuple[tuple[str, Any], ...]

FEATURES = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
JXL_PACKAGE = "pillow-jxl-plugin"


class MissingCodecError(UserError):
    """A codec cannot be had here; the message says what it needs."""


@dataclass(frozen=True)
class Variant:
    """One way to set a format: what else Pillow's `save` is given, and the qualities to measure."""

    name: str
    options: Options
    qualities: tuple[float, ...]


# The qualities cover about 0.05 to 1 bit per pixel.
_JPEG: Options = (("optimize", True), ("progressive", True))
_AVIF: Options = (("speed", 4), ("max_threads", 1))
TUNED: dict[Format, tuple[Variant, ...]] = {
    "avif": (
        Variant("4:2:0", (*_AVIF, ("subsampling", "4:2:0")), (1, 10, 20, 32, 45, 60)),
        Variant("4:4:4", (*_AVIF, ("subsampling", "4:4:4")), (14, 32, 60)),
    ),
    "webp": (Variant("method 6", (("method", 6),), (0, 3, 10, 25, 50, 70)),),
    "jpeg": (
        Variant("4:2:0", (*_JPEG, ("subsampling", "4:2:0")), (3, 8, 15, 25, 40, 60)),
        Variant("4:4:4", (*_JPEG, ("subsampling", "4:4:4")), (15, 40, 60)),
    ),
    "jxl": (Variant("effort 7", (("effort", 7), ("num_threads", 0)), (0, 8, 20, 40, 60, 75)),),
    "jpeg2000": (
        Variant(
            "rates, 9/7",
            (("quality_mode", "rates"), ("irreversible", True)),
            (0.06, 0.125, 0.25, 0.5, 1.0),
        ),
    ),
}
assert set(TUNED) == set(get_args(Format))


class PillowCoder:
    """A format, in all its tuned variants by default. The quality of a point is 0 to 100; for
    JPEG 2000 it is the bits per pixel to spend, above 0, at most 24.

    Raises MissingCodecError for a format that cannot be had here, UserError for a quality out of
    range.
    """

    def __init__(self, format: Format, variants: Sequence[Variant] | None = None) -> None:
        require_format(format)
        variants = TUNED[format] if variants is None else variants
        self.name: str = format
        self.format = format
        self.variants = {variant.name: variant.options for variant in variants}
        self.points = [Point(v.name, quality) for v in variants for quality in v.qualities]
        for point in self.points:
            self._require(point.quality)
        self.qualities: Sequence[float] = range(101)
        if format == "jpeg2000":
            self.qualities = [bits / 100 for bits in range(1, 100 * RAW_BITS_PER_PIXEL + 1)]
        options = {v.name: [list(option) for option in v.options] for v in variants}
        self.identity = {"options": options, "versions": codec_versions(format)}

    def encode(self, pixels: Pixels, point: Point) -> bytes:
        self._require(point.quality)
        arguments: dict[str, Any] = dict(self.variants[point.variant])
        if self.format == "jpeg2000":
            arguments["quality_layers"] = [RAW_BITS_PER_PIXEL / point.quality]
        else:
            arguments["quality"] = point.quality
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=self.format, **arguments)
        return buffer.getvalue()

    def decode(self, file: bytes, point: Point) -> Pixels:
        with Image.open(io.BytesIO(file), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))

    def _require(self, quality: float) -> None:
        if self.format == "jpeg2000" and not 0 < quality <= RAW_BITS_PER_PIXEL:
            raise UserError(f"jpeg2000 quality={quality}: give bits per pixel, above 0, at most 24")
        if not 0 <= quality <= 100:
            raise UserError(f"{self.format} quality={quality}: give 0 to 100")


def require_format(format: Format) -> None:
    """Raise MissingCodecError for a format that cannot be had here."""
    if format == "jxl":
        try:
            importlib.import_module("pillow_jxl")  # registers itself with Pillow
        except ImportError as error:
            raise MissingCodecError(f"JPEG XL needs the package {JXL_PACKAGE} ({error})") from error
    elif not features.check(FEATURES[format]):
        raise MissingCodecError(f"this Pillow was built without {format}")


def codec_versions(format: Format) -> dict[str, str]:
    """Versions of what writes the files: Pillow, and its plugin or the library below."""
    if format == "jxl":
        return {"Pillow": version("Pillow"), JXL_PACKAGE: version(JXL_PACKAGE)}
    return {"Pillow": version("Pillow"), format: str(features.version(FEATURES[format]))}


def use_one_thread() -> None:
    """Have AVIF and JPEG XL decode with one thread, so that their times compare."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        plugin: Any = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
    except ImportError:
        return
    plugin.DECODE_THREADS = 0
