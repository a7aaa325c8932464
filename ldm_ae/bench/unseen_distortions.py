"""Distortions that the embedded network never saw in training, each at several strengths.

Each function takes an RGB uint8 array (H, W, 3) and a strength, weak to strong, and gives an array
of the same shape. What the network was trained on stands in `scripts/distillation`.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import map_coordinates

from ldm_ae.bench.coder import Pixels


def median_filter(pixels: Pixels, size: float) -> Pixels:
    filtered = Image.fromarray(pixels).filter(ImageFilter.MedianFilter(int(size)))
    return np.asarray(filtered)


def motion_blur(pixels: Pixels, length: float) -> Pixels:
    """The mean along a slanted line of `length` pixels."""
    steps = np.arange(int(length)) - (int(length) - 1) / 2
    offsets = np.rint(np.stack([0.5 * steps, steps], axis=1)).astype(int)
    reach = int(length)
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge").astype(float)
    height, width = pixels.shape[:2]
    total = np.zeros(pixels.shape)
    for dy, dx in offsets:
        total += padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return _to_uint8(total / len(offsets))


def salt_and_pepper(pixels: Pixels, share: float) -> Pixels:
    rng = np.random.default_rng(0)
    draw = rng.random(pixels.shape[:2])
    out = pixels.copy()
    out[draw < share / 2] = 0
    out[draw > 1 - share / 2] = 255
    return out


def jpeg2000(pixels: Pixels, ratio: float) -> Pixels:
    return _through_codec(pixels, "JPEG2000", quality_mode="rates", quality_layers=[ratio])


def webp(pixels: Pixels, quality: float) -> Pixels:
    return _through_codec(pixels, "WEBP", quality=int(quality))


def chromatic_shift(pixels: Pixels, offset: float) -> Pixels:
    """Red and blue moved apart."""
    by = int(offset)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.stack([np.roll(red, by, 1), green, np.roll(blue, (by, -by), (0, 1))], axis=-1)


def swirl(pixels: Pixels, degrees: float) -> Pixels:
    """Turned by `degrees` at the centres of a 3 x 3 grid, less around them."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(float)
    source_rows, source_columns = rows.copy(), columns.copy()
    radius = min(height, width) / 8
    for centre_row in height * np.array([1, 3, 5]) / 6:
        for centre_column in width * np.array([1, 3, 5]) / 6:
            down, right = rows - centre_row, columns - centre_column
            angle = np.deg2rad(degrees) * np.exp(-(down**2 + right**2) / radius**2)
            source_rows += np.cos(angle) * down + np.sin(angle) * right - down
            source_columns += np.cos(angle) * right - np.sin(angle) * down - right
    return _resample(pixels, source_rows, source_columns)


def ripple(pixels: Pixels, amplitude: float) -> Pixels:
    """Every row and column displaced along a sine of 24 pixels."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(float)
    source_rows = rows + amplitude * np.sin(2 * np.pi * columns / 24)
    source_columns = columns + amplitude * np.sin(2 * np.pi * rows / 24)
    return _resample(pixels, source_rows, source_columns)


def pca_patches(pixels: Pixels, num_components: float) -> Pixels:
    """8 x 8 patches by their leading principal components, fitted on the photo itself."""
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    grid = pixels[:height, :width].astype(float).reshape(height // 8, 8, width // 8, 8, 3)
    patches = grid.transpose(0, 2, 1, 3, 4).reshape(-1, 192)
    mean = patches.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(patches.T))
    basis = vectors[:, -int(num_components) :]
    patches = mean + (patches - mean) @ basis @ basis.T
    blocks = patches.reshape(height // 8, width // 8, 8, 8, 3).transpose(0, 2, 1, 3, 4)
    out = pixels.copy()
    out[:height, :width] = _to_uint8(blocks.reshape(height, width, 3))
    return out


def dithered_palette(pixels: Pixels, num_colours: float) -> Pixels:
    """The photo's own palette with Floyd-Steinberg dithering."""
    image = Image.fromarray(pixels)
    palette = image.quantize(int(num_colours), method=Image.Quantize.MEDIANCUT)
    dithered = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(dithered.convert("RGB"))


FAMILIES: dict[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, ...]]] = {
    "median_filter": (median_filter, (3, 5, 9, 15)),
    "motion_blur": (motion_blur, (3, 7, 13, 25)),
    "salt_and_pepper": (salt_and_pepper, (0.002, 0.01, 0.03, 0.1)),
    "jpeg2000": (jpeg2000, (20, 50, 100, 200)),
    "webp": (webp, (80, 50, 20, 2)),
    "chromatic_shift": (chromatic_shift, (1, 2, 4, 8)),
    "swirl": (swirl, (3, 8, 20, 45)),
    "ripple": (ripple, (0.5, 1, 2, 4)),
    "pca_patches": (pca_patches, (64, 24, 9, 3)),
    "dithered_palette": (dithered_palette, (128, 32, 12, 5)),
}


def _through_codec(pixels: Pixels, codec: str, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _resample(pixels: Pixels, rows: np.ndarray, columns: np.ndarray) -> Pixels:
    channels = [
        map_coordinates(pixels[..., c].astype(float), [rows, columns], order=1, mode="nearest")
        for c in range(3)
    ]
    return _to_uint8(np.stack(channels, axis=-1))


def _to_uint8(values: np.ndarray) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)
