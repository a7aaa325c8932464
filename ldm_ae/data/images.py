"""Image files to uint8 pixels to float tensors, and back.

Two borders: encoded bytes -> uint8 pixels (`decode_image`, `load_image`), and uint8 pixels ->
float tensors in [-1, 1] (`to_float`, `to_uint8`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ldm_ae.data.bounds import BOUNDS, Bounds, BrokenImageError, opened
from ldm_ae.data.colour import to_srgb
from ldm_ae.errors import UserError

BACKGROUND = (255, 255, 255)  # what transparent pixels show when alpha is dropped: white

_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_EXIF_ORIENTATION = 0x0112
# ImageOps.exif_transpose also writes the EXIF block anew, and fails at some that are only odd.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FURTHER_FRAMES = "further_frames"


def load_image(
    source: str | Path | bytes | Image.Image, channels: int | None = 3, bounds: Bounds = BOUNDS
) -> np.ndarray:
    """Decode to a uint8 array (H, W, channels), 0..255; conversions as in `decode_image`."""
    return to_array(decode_image(source, channels, bounds=bounds))


def decode_image(
    source: str | Path | bytes | Image.Image,
    channels: int | None = 3,
    *,
    min_side: int = 1,
    enough_side: int | None = None,
    bounds: Bounds = BOUNDS,
) -> Image.Image:
    """Decode to an upright Pillow image in sRGB of mode L (1 channel), RGB (3) or RGBA (4); for
    None of the mode that the picture is closest to: L, LA, RGB or RGBA.

    - EXIF orientation is applied; an unreadable EXIF block counts as upright.
    - An ICC profile is applied (`to_srgb`). CMYK, YCCK, YCbCr, LAB without one become RGB by
      Pillow's formulas.
    - 1-bit: 0 and 255. Palette: its colours. Animation, pages: the first (`has_further_frames`).
    - 16-bit grey (I;16 in any byte order, and I, which must lie in 0..65535): round(v / 257).
      16-bit colour PNG: the high byte, as Pillow reads it.
    - 32-bit float grey (F) must lie in [0, 1]: round(255 v).
    - Alpha, a transparent palette entry or colour key: composited over white for 1 or 3
      channels, kept for 4. Images without alpha get 255 there.
    - Colour to grey: Pillow's L, ITU-R 601-2 luma.

    `enough_side`: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its short
    side stays at least this long (much faster for camera files).

    Raises BrokenImageError (a UserError): undecodable or truncated data, another format than
    `formats()`, more than `bounds` allow (checked before decoding), a short side below `min_side`,
    values out of the ranges above. Raises UserError for other `channels`.
    """
    if channels is not None and channels not in _MODE_OF_CHANNELS:
        raise UserError(f"channels={channels}: must be 1 (grey), 3 (RGB) or 4 (RGBA)")
    if isinstance(source, Image.Image):
        bounds.check(source)
        return _convert(_upright(_large_enough(source, min_side)), channels)
    with opened(source, bounds) as image:
        _large_enough(image, min_side)
        # Of a phone's JPEG (MPO) the further pictures are previews and maps of depth or light.
        animated = getattr(image, "is_animated", False) and image.format != "MPO"
        if enough_side is not None:
            _draft(image, enough_side)
        image.load()
        decoded = _convert(_upright(image), channels)
        decoded.info = {_FURTHER_FRAMES: True} if animated else {}
    return decoded


def has_further_frames(image: Image.Image) -> bool:
    """Whether the file of a decoded image holds more frames or pages than this one."""
    return _FURTHER_FRAMES in image.info


def _large_enough(image: Image.Image, min_side: int) -> Image.Image:
    width, height = image.size
    if min(width, height) < min_side:
        raise BrokenImageError(f"{width}x{height} is too small: the short side must be {min_side}")
    return image


def _draft(image: Image.Image, enough_side: int) -> None:
    """Ask the JPEG decoder for the smallest of 1, 1/2, 1/4, 1/8 that is large enough."""
    scale = enough_side / min(image.size)
    if scale <= 0.5:
        width, height = image.size
        image.draft(None, (int(np.ceil(width * scale)), int(np.ceil(height * scale))))


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # any parse error of a block that holds no pixels
        orientation = 1
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _convert(image: Image.Image, channels: int | None) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    image = to_srgb(image)
    transparent = image.has_transparency_data
    if channels is None:
        mode = ("L" if grey else "RGB") + ("A" if transparent else "")
    else:
        mode = _MODE_OF_CHANNELS[channels]
    if transparent and mode in ("L", "RGB"):
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(canvas, image).convert("RGB")
    elif transparent and mode == "LA":
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L", "RGB", "RGBA") and not transparent:
        image = image.convert("RGB")  # CMYK, YCbCr, P, ... have no direct way to every mode
    if image.mode == mode:
        return image.copy()
    return image.convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    limit = 1.0 if image.mode == "F" else 65535
    if not (low >= 0 and high <= limit):  # also catches NaN
        raise BrokenImageError(f"mode {image.mode} has values {low}..{high}, not 0..{limit}")
    pixels = np.rint(values.astype(np.float64) * (255 / limit)).astype(np.uint8)
    converted = Image.fromarray(pixels)
    converted.info = {k: v for k, v in image.info.items() if k == "icc_profile"}
    return converted


def to_array(image: Image.Image) -> np.ndarray:
    """A Pillow image of mode L, LA, RGB or RGBA as uint8 (H, W, C)."""
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def to_float(images: np.ndarray | Tensor) -> Tensor:
    """uint8 pixels 0..255 => float32 (B, C, H, W) in [-1, 1]: x / 127.5 - 1.

    Takes one array (H, W, C), giving B = 1, or a tensor (B, C, H, W). Raises UserError for
    another type or rank.
    """
    if isinstance(images, np.ndarray):
        if images.ndim != 3:
            raise UserError(f"to_float: array of shape {images.shape}, expected (H, W, C)")
        images = torch.from_numpy(np.array(images)).permute(2, 0, 1)[None]  # (1, C, H, W)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise UserError(
            f"to_float: {images.dtype} of shape {tuple(images.shape)}, expected uint8 (B, C, H, W)"
        )
    return images.contiguous().to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Floats, clamped to [-1, 1] => uint8 of the same shape: (x + 1) * 127.5, half to even.

    Raises FloatingPointError for NaN and infinities, which are no picture.
    """
    if not bool(images.isfinite().all()):
        raise FloatingPointError(
            "a picture of numbers that are not finite (NaN or infinity): the model's weights or its"
            " precision cannot be used for it"
        )
    pixels = images.detach().to(torch.float32).clamp(-1.0, 1.0)
    return pixels.add(1.0).mul_(127.5).round_().to(torch.uint8)


def pad_to_multiple(images: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Replicate the last row and column until H and W are multiples of `multiple`.

    (B, C, H, W) => ((B, C, H', W'), (H, W)); crop back with `padded[..., :H, :W]`.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom or right:
        images = F.pad(images, (0, right, 0, bottom), mode="replicate")
    return images, (height, width)
