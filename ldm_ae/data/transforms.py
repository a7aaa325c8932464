"""Views of an image: random crops for training, one fixed crop for validation.

All resampling is Pillow's antialiased bicubic, of the crop alone.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import decode_image, to_array
from ldm_ae.data.source import Item

_REDUCING_GAP = 3.0  # large reductions start from a box-averaged image; Pillow's "fair" setting


def random_view(image: Image.Image, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """A random square crop, flipped half of the time: uint8 (size, size, C).

    `random`: `size` px, no resampling. `random_resized`: a square whose area is a uniform
    share in [min_scale, 1] of the largest one, but whose side is not below `size` unless the
    image's is; resampled to `size`. Positions are whole pixels. Always draws four numbers.
    """
    share, left, top, mirrored = rng.random(4)
    short = min(image.size)
    side = config.size
    if config.crop == "random_resized":
        share = config.min_scale + (1.0 - config.min_scale) * share
        side = min(short, max(config.size, round(math.sqrt(share) * short)))
    view = _square(image, side, left, top, config.size)
    if config.flip and mirrored < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return to_array(view)


def centre_view(image: Image.Image, config: DataConfig) -> np.ndarray:
    """The validation view, uint8 (size, size, C): see `DataConfig.validation_crop`."""
    short = min(image.size)
    side = short if config.validation_crop == "resized" else config.size
    if side > short:
        raise BrokenImageError(f"short side {short} is below the {side} px of the centre crop")
    return to_array(_square(image, side, 0.5, 0.5, config.size))


def decode_for_training(item: Item, config: DataConfig) -> Image.Image:
    """Decode one image for `random_view`; BrokenImageError says which image and why.

    A JPEG much larger than its crops is decoded smaller, but never so small that a crop would
    have to be enlarged.
    """
    enough_side = None
    if config.crop == "random_resized":
        enough_side = math.ceil(config.size / math.sqrt(config.min_scale))
    name, encoded = item
    try:
        if isinstance(encoded, BrokenImageError):
            raise encoded
        return decode_image(
            encoded,
            config.channels,
            min_side=config.smallest_side,
            enough_side=enough_side,
            bounds=config.bounds,
        )
    except BrokenImageError as error:
        raise BrokenImageError(f"{name}: {error}") from error


def _square(image: Image.Image, side: int, left: float, top: float, size: int) -> Image.Image:
    """Cut `side` px at relative offsets in [0, 1), resample to `size` px if they differ."""
    x = int(left * (image.width - side + 1))
    y = int(top * (image.height - side + 1))
    return cut(image, (x, y, x + side, y + side), (size, size))


def cut(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    """The box (left, top, right, bottom) of an image, resampled to `size` (width, height) if it
    has another one."""
    if (box[2] - box[0], box[3] - box[1]) == size:
        return image.crop(box)
    return image.resize(size, Image.Resampling.BICUBIC, box, _REDUCING_GAP)
