"""Crops of files of equal size: the finest setting of each codec that fits."""

from collections.abc import Callable, Sequence

from model_coder import ModelCoder

from ldm_ae.bench.image_codecs import TUNED, Format, ImageCodec, Pixels, why_missing
from ldm_ae.bench.rd_run import Photo
from ldm_ae.viz.gallery import Tile, centre_crop

CROP = 224
TITLES: dict[Format, str] = {"avif": "AVIF", "jxl": "JPEG XL", "webp": "WebP", "jpeg": "JPEG"}
Encode = Callable[[int], bytes]


def equal_bytes_rows(
    models: Sequence[ModelCoder], formats: Sequence[Format], photos: Sequence[Photo], bpp: float
) -> list[list[Tile]]:
    """A row for each photo: original, each model, each format that can be had here.

    The size is that of the first model's finest file of at most `bpp`; without a model, `bpp`.
    """
    rows = []
    for photo in photos:
        pixels = photo.pixels()
        limit = int(bpp * pixels.shape[0] * pixels.shape[1] / 8)
        tiles = [Tile("original", photo.name, centre_crop(pixels, CROP))]
        for index, model in enumerate(models):
            file = model_file(model, pixels, limit)
            tiles.append(_tile(model.name, file, limit, model.decode(file, model.points[0])))
            if index == 0:
                limit = len(file)
        for format, title in TITLES.items():
            if format in formats and why_missing(format) is None:
                file = finest_within(_encoder(format, pixels), 0, 100, limit)
                decoded = ImageCodec(format, 0).decode(file)
                tiles.append(_tile(title, file, limit, decoded))
        rows.append(tiles)
    return rows


def model_file(model: ModelCoder, pixels: Pixels, limit: int) -> bytes:
    if model.codec.content.discrete:
        return model.encode(pixels, model.points[0])
    analysis = model.codec.encode(pixels)
    return finest_within(lambda q: model.codec.pack(analysis, q), 0, 63, limit)


def finest_within(encode: Encode, low: int, high: int, limit: int) -> bytes:
    """The file of the highest quality of at most `limit` bytes; of `low`, if that is larger.

    By bisection: sizes grow with quality but for a few bytes.
    """
    best = encode(low)
    low += 1
    while low <= high and len(best) <= limit:
        middle = (low + high) // 2
        file = encode(middle)
        if len(file) <= limit:
            best, low = file, middle + 1
        else:
            high = middle - 1
    return best


def _encoder(format: Format, pixels: Pixels) -> Encode:
    """The first of the format's tuned settings: 4:2:0 where there is a choice."""
    options = TUNED[format][0].options
    return lambda quality: ImageCodec(format, quality, options).encode(pixels)


def _tile(name: str, file: bytes, limit: int, decoded: Pixels) -> Tile:
    over = " (its smallest)" if len(file) > limit else ""
    return Tile(name, f"{len(file):,} bytes{over}", centre_crop(decoded, CROP))
