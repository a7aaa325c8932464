"""Pictures of reconstructions: original | reconstruction | error, a row for each image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ldm_ae.data.images import to_uint8
from ldm_ae.errors import UserError
from ldm_ae.files import replacing

ERROR_GAIN = 4.0
GAP = 4
HEADER_HEIGHT = 18
MIN_COLUMN_WIDTH = 90  # room for the word "reconstruction"


def reconstruction_grid(
    originals: Sequence[Tensor],
    reconstructions: Sequence[Tensor],
    error_gain: float = ERROR_GAIN,
) -> NDArray[np.uint8]:
    """The grid as (H, W, 3) uint8, with a header that names the columns and the gain.

    originals, reconstructions: (C, H, W) in [-1, 1], C in {1, 3, 4}, sizes may differ between
    rows; a (B, C, H, W) tensor is such a sequence. Grey is shown as grey; alpha is left out.
    error: |reconstruction - original| per channel, both rounded to uint8, times `error_gain`,
    so black is no error. For TensorBoard: add_image(tag, grid, step, dataformats="HWC").
    Raises UserError if there are no images, or the two sides do not match.
    """
    if len(originals) == 0 or len(originals) != len(reconstructions):
        raise UserError(
            f"a grid needs one reconstruction per original, at least one; got "
            f"{len(originals)} originals and {len(reconstructions)} reconstructions"
        )
    pairs = zip(originals, reconstructions, strict=True)
    rows = [_row(original, reconstruction, error_gain) for original, reconstruction in pairs]
    column_width = max(MIN_COLUMN_WIDTH, *(row[0].shape[1] for row in rows))
    width = 3 * column_width + 2 * GAP
    heights = [row[0].shape[0] for row in rows]
    grid = np.full((HEADER_HEIGHT + sum(heights) + GAP * (len(rows) - 1), width, 3), 255, np.uint8)
    top = HEADER_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = column * (column_width + GAP)
            grid[top : top + height, left : left + picture.shape[1]] = picture
        top += height + GAP
    _write_header(grid, column_width, error_gain)
    return grid


def save_reconstruction_grid(
    path: Path,
    originals: Sequence[Tensor],
    reconstructions: Sequence[Tensor],
    error_gain: float = ERROR_GAIN,
) -> None:
    """Write `reconstruction_grid` as a PNG, whole or not at all."""
    grid = reconstruction_grid(originals, reconstructions, error_gain)
    with replacing(path) as aside:
        Image.fromarray(grid).save(aside, format="png")


def _row(original: Tensor, reconstruction: Tensor, gain: float) -> list[NDArray[np.uint8]]:
    if original.shape != reconstruction.shape or original.ndim != 3:
        raise UserError(
            f"a grid takes pairs of (C, H, W) images of one shape; got {tuple(original.shape)} "
            f"and {tuple(reconstruction.shape)}"
        )
    x, y = _to_rgb(to_uint8(original[None])), _to_rgb(to_uint8(reconstruction[None]))
    error = np.abs(y.astype(np.int16) - x.astype(np.int16)) * gain
    return [x, y, np.rint(error.clip(0, 255)).astype(np.uint8)]


def _to_rgb(images: Tensor) -> NDArray[np.uint8]:
    """(1, 1 | 3 | 4, H, W) uint8 -> (H, W, 3)."""
    colours = images[0, :3].expand(3, -1, -1)
    pixels: NDArray[np.uint8] = colours.permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return pixels


def _write_header(grid: NDArray[np.uint8], column_width: int, gain: float) -> None:
    header = Image.new("RGB", (grid.shape[1], HEADER_HEIGHT), "white")
    draw, font = ImageDraw.Draw(header), ImageFont.load_default(size=12)
    for column, label in enumerate(("original", "reconstruction", f"error x{gain:g}")):
        draw.text((column * (column_width + GAP) + 2, 2), label, fill="black", font=font)
    grid[:HEADER_HEIGHT] = np.asarray(header)
