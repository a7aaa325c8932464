"""Pictures as the codec takes them: colour or grey, and an alpha plane kept without loss."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ldm_ae.data.images import BACKGROUND, load_image
from ldm_ae.errors import UserError


@dataclass(frozen=True)
class Planes:
    """colour: uint8 (H, W, 3), or (H, W, 1) for grey. alpha: uint8 (H, W), or None."""

    colour: np.ndarray
    alpha: np.ndarray | None


def open_picture(source: str | Path | bytes | Image.Image) -> np.ndarray:
    """A file or Pillow image as uint8 (H, W, 1..4): grey, grey and alpha, RGB or RGBA, whichever it
    is; upright, in sRGB and in 8 bits as `data.images.decode_image` makes it. Raises
    BrokenImageError."""
    return load_image(source, channels=None)


def split(image: np.ndarray) -> Planes:
    """uint8 (H, W) or (H, W, 1..4) => planes. What is wholly transparent becomes white, so that
    hidden colours cost nothing. Raises UserError for another type or shape."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4):
        raise UserError(
            f"image: {image.dtype} of shape {image.shape}, expected uint8 (H, W) or (H, W, 1 to 4)"
        )
    if image.size == 0:
        raise UserError(f"image: shape {image.shape} has no pixels")
    if image.shape[2] % 2:
        return Planes(image, None)
    colour, alpha = image[:, :, :-1].copy(), image[:, :, -1]
    colour[alpha == 0] = BACKGROUND[: colour.shape[2]]
    return Planes(colour, alpha)


def split_for(channels: int, image: np.ndarray) -> Planes:
    """`split` for a model of pictures with so many channels: one of 4 takes alpha as a colour.
    Raises UserError for colours that a model of grey pictures is given."""
    planes = split(image)
    given = planes.colour.shape[2]
    if channels == 1 and given != 1:
        raise UserError(f"image: {given} colours, this model takes grey pictures: convert it")
    if channels != 4:
        return planes
    alpha = planes.alpha
    if alpha is None:
        alpha = np.full(image.shape[:2], 255, dtype=np.uint8)
    colour = np.broadcast_to(planes.colour, (*image.shape[:2], 3))
    return Planes(join(Planes(colour, alpha)), None)


def join(planes: Planes) -> np.ndarray:
    """Planes => uint8 (H, W, 1..4)."""
    if planes.alpha is None:
        return planes.colour
    return np.concatenate([planes.colour, planes.alpha[:, :, None]], axis=2)


def pack_alpha(alpha: np.ndarray) -> bytes:
    """uint8 (H, W) => bytes: none if it is opaque, else zlib of each row less the one above."""
    if (alpha == 255).all():
        return b""
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(packed: bytes, height: int, width: int) -> np.ndarray:
    """The inverse. Raises UserError for bytes that hold another number of values; takes no more
    memory than these."""
    if not packed:
        return np.full((height, width), 255, dtype=np.uint8)
    size = height * width
    decoder = zlib.decompressobj()
    try:
        content = decoder.decompress(packed, size + 1)
    except zlib.error as error:
        raise UserError(f"the alpha plane is corrupt: {error}") from error
    if len(content) != size or not decoder.eof or decoder.unused_data:
        raise UserError(f"the alpha plane is corrupt: it does not hold {size} values")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(height, width)
    return np.cumsum(rows, axis=0, dtype=np.uint8)
