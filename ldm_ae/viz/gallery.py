"""The same crop of several decoded files side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ldm_ae.errors import UserError
from ldm_ae.files import replacing

Pixels = NDArray[np.uint8]
GAP = 4
CAPTION_HEIGHT = 32
FONT_SIZE = 12


@dataclass(frozen=True)
class Tile:
    """title, detail: the two lines above the crop. pixels: (H, W, 3) uint8."""

    title: str
    detail: str
    pixels: Pixels


def centre_crop(pixels: Pixels, side: int) -> Pixels:
    """The middle of (H, W, 3), at most `side` high and wide."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def gallery(rows: Sequence[Sequence[Tile]]) -> Pixels:
    """(H, W, 3) uint8: a row per image, tiles of one size within a row.

    Raises UserError without a tile and for tiles of one row that differ in size.
    """
    if not rows or not all(rows):
        raise UserError("a gallery needs at least one row, and a tile in each")
    for row in rows:
        sizes = {tile.pixels.shape for tile in row}
        if len(sizes) > 1:
            raise UserError(f"tiles of one row must have one size, got {sorted(sizes)}")
    bands = [_row(row) for row in rows]
    width = max(band.width for band in bands)
    height = sum(band.height for band in bands) + GAP * (len(bands) - 1)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height + GAP
    return np.array(sheet)


def save_gallery(path: Path, rows: Sequence[Sequence[Tile]]) -> None:
    """Write `gallery` as a PNG, whole or not at all."""
    picture = gallery(rows)
    with replacing(path) as aside:
        Image.fromarray(picture).save(aside, format="png")


def _row(row: Sequence[Tile]) -> Image.Image:
    height, width = row[0].pixels.shape[:2]
    band = Image.new("RGB", (len(row) * (width + GAP) - GAP, CAPTION_HEIGHT + height), "white")
    draw, font = ImageDraw.Draw(band), ImageFont.load_default(size=FONT_SIZE)
    for column, tile in enumerate(row):
        left = column * (width + GAP)
        draw.text((left + 2, 0), tile.title, fill="black", font=font)
        draw.text((left + 2, CAPTION_HEIGHT // 2), tile.detail, fill="dimgray", font=font)
        band.paste(Image.fromarray(tile.pixels), (left, CAPTION_HEIGHT))
    return band
