"""Crops of files of equal size: the finest setting of each coder that fits."""

from __future__ import annotations

from collections.abc import Sequence

from ldm_ae.bench.coder import Coder, finest_within
from ldm_ae.bench.photos import Photo
from ldm_ae.viz.codecs import TITLES
from ldm_ae.viz.gallery import Tile, centre_crop

CROP = 224


def equal_bytes_rows(
    coders: Sequence[Coder], photos: Sequence[Photo], bpp: float
) -> list[list[Tile]]:
    """A row for each photo: original, then each coder, in its first variant.

    The size is that of the first coder's finest file of at most `bpp`.
    """
    rows = []
    for photo in photos:
        pixels = photo.pixels()
        limit = int(bpp * pixels.shape[0] * pixels.shape[1] / 8)
        tiles = [Tile("original", photo.name, centre_crop(pixels, CROP))]
        for index, coder in enumerate(coders):
            file, point = finest_within(coder, pixels, limit)
            over = " (its smallest)" if len(file) > limit else ""
            decoded = centre_crop(coder.decode(file, point), CROP)
            title = TITLES.get(coder.name, coder.name)
            tiles.append(Tile(title, f"{len(file):,} bytes{over}", decoded))
            if index == 0:
                limit = len(file)
        rows.append(tiles)
    return rows
