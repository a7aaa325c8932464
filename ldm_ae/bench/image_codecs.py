"""Image codecs as Pillow runs them: the rows to compare a latent space with.

`ImageCodec(format, quality)` alone has Pillow's defaults: JPEG with 4:2:0 chroma and standard
Huffman tables, lossy WebP with method 4. `TUNED` has each format as someone would set it who wants
small files. The rate is the size of the file, header included.
"""

import importlib
import io
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, features

JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)
WEBP_QUALITIES = (0, 10, 30, 50, 75, 90)
RAW_BITS_PER_PIXEL = 24

Format = Literal["jpeg", "webp", "avif", "jpeg2000", "jxl"]
Options = tuple[tuple[str, Any], ...]
Pixels = NDArray[np.uint8]

FEATURES = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
JXL_PACKAGE = "pillow-jxl-plugin"


@dataclass(frozen=True)
class ImageCodec:
    """One format at one quality.

    quality: 0 to 100; for JPEG 2000 the bits per pixel it is told to spend, above 0, at most 24.
    options: what else Pillow's `save` is given.

    Raises ValueError for a quality out of range and a format that cannot be had here.
    """

    format: Format
    quality: float
    options: Options = ()

    def __post_init__(self) -> None:
        if self.format == "jpeg2000" and not 0 < self.quality <= RAW_BITS_PER_PIXEL:
            raise ValueError(
                f"jpeg2000 quality={self.quality}: give bits per pixel, above 0, at most 24"
            )
        if not 0 <= self.quality <= 100:
            raise ValueError(f"{self.format} quality={self.quality}: give 0 to 100")
        reason = why_missing(self.format)
        if reason is not None:
            raise ValueError(f"{reason}: leave that codec out")

    @property
    def name(self) -> str:
        return f"{self.format}-q{self.quality:g}"

    def encode(self, image: Pixels) -> bytes:
        """(H, W, 3) uint8 -> the file."""
        arguments: dict[str, Any] = dict(self.options)
        if self.format == "jpeg2000":
            arguments["quality_layers"] = [RAW_BITS_PER_PIXEL / self.quality]
        else:
            arguments["quality"] = self.quality
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format=self.format, **arguments)
        return buffer.getvalue()

    def decode(self, file: bytes) -> Pixels:
        """The file -> (H, W, 3) uint8."""
        with Image.open(io.BytesIO(file), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))


@dataclass(frozen=True)
class Variant:
    """One way to set a format, with the qualities that cover about 0.05 to 1 bit per pixel."""

    name: str
    options: Options
    qualities: tuple[float, ...]


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


def why_missing(format: Format) -> str | None:
    """Why a format cannot be had here; None if it can."""
    if format == "jxl":
        try:
            importlib.import_module("pillow_jxl")  # registers itself with Pillow
        except ImportError as error:
            return f"JPEG XL needs the package {JXL_PACKAGE} ({error})"
        return None
    if not features.check(FEATURES[format]):
        return f"this Pillow was built without {format}"
    return None


def codec_versions(format: Format) -> dict[str, str]:
    """Versions of what writes the files: Pillow (or its plugin) and the library below."""
    versions = {"Pillow": version("Pillow")}
    if format == "jxl":
        try:
            return versions | {JXL_PACKAGE: version(JXL_PACKAGE)}
        except PackageNotFoundError:
            return versions
    return versions | {format: str(features.version(FEATURES[format]))}


def use_one_thread() -> None:
    """Have AVIF and JPEG XL decode with one thread, so that their times compare."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if why_missing("jxl") is None:
        plugin: Any = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
        plugin.DECODE_THREADS = 0
