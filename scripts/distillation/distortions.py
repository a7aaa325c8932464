"""Distortions that the embedded network is trained on; `distort` draws from them.

Each takes images (B, 3, H, W) in [-1, 1] and a numpy generator, draws a strength for each image,
and gives images of the same shape, not yet clamped.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Distortion = Callable[[Tensor, np.random.Generator], Tensor]


def distort(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image by one or two families, at full or part strength, everywhere or in places."""
    out = [_distort_one(image[None], rng) for image in images]
    return torch.cat(out).clamp(-1, 1)


def _distort_one(image: Tensor, rng: np.random.Generator) -> Tensor:
    families = list(FAMILIES.values())
    changed = image
    for _ in range(1 if rng.random() < 0.6 else 2):
        changed = families[rng.integers(len(families))](changed, rng).clamp(-1, 1)
    if rng.random() < 0.3:
        changed = image + rng.uniform(0.1, 1.0) * (changed - image)
    if rng.random() < 0.15:
        mask = F.interpolate(_normal((1, 1, 4, 4), rng), image.shape[2:], mode="bicubic")
        changed = torch.lerp(image, changed, torch.sigmoid(4 * mask))
    return changed


def gaussian_blur(images: Tensor, rng: np.random.Generator) -> Tensor:
    sigma = float(np.exp(rng.uniform(np.log(0.4), np.log(5))))
    radius = int(3 * sigma) + 1
    taps = torch.exp(-(torch.arange(-radius, radius + 1).float() ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).repeat(3, 1)
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, taps[:, None, None, :], groups=3)
    return F.conv2d(rows, taps[:, None, :, None], groups=3)


def white_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian, of all channels alike or each by itself."""
    channels = 3 if rng.random() < 0.6 else 1
    noise = _normal((images.shape[0], channels, *images.shape[2:]), rng)
    return images + _log_uniform(0.01, 0.6, rng) * noise


def smooth_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of a coarser grid: blotches of 2 to 32 pixels."""
    grid = int(images.shape[2] / _log_uniform(2, 32, rng))
    noise = F.interpolate(
        _normal((images.shape[0], 3, grid, grid), rng), images.shape[2:], mode="bicubic"
    )
    return images + _log_uniform(0.02, 0.5, rng) * noise


def jpeg(images: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.cat([_jpeg(image, int(rng.integers(3, 96))) for image in images])


def _jpeg(image: Tensor, quality: int) -> Tensor:
    pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer)).copy()
    return torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 127.5 - 1


def tone(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and gamma."""
    unit = ((images + 1) / 2).clamp(0, 1) ** _log_uniform(0.5, 2, rng)
    mean = unit.mean(dim=(1, 2, 3), keepdim=True)
    unit = mean + (unit - mean) * _log_uniform(0.4, 1.8, rng) + rng.normal() * 0.1
    return 2 * unit - 1


def colour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Saturation, and a cast by a mixing of the channels."""
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * rng.uniform(0, 2)
    mixing = torch.eye(3) + _normal((3, 3), rng) * rng.uniform(0, 0.2)
    cast = _normal((1, 3, 1, 1), rng) * rng.uniform(0, 0.15)
    return torch.einsum("ij,bjhw->bihw", mixing, images) + cast


def warp(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A shift by parts of a pixel up to several, with a little rotation, scale and shear."""
    strength = _log_uniform(0.002, 0.05, rng)
    matrix = torch.eye(2, 3)[None] + _normal((1, 2, 3), rng) * strength
    grid = F.affine_grid(matrix.repeat(len(images), 1, 1), list(images.shape), False)
    return F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False)


def down_up(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Shrunk by 1.2 to 10, then enlarged, each with a filter of its own."""
    size = max(4, round(images.shape[2] / _log_uniform(1.2, 10, rng)))
    down, up = rng.integers(3), ("nearest", "bilinear", "bicubic")[rng.integers(3)]
    if down == 0:
        small = F.interpolate(images, (size, size), mode="area")
    else:
        mode = ("bilinear", "bicubic")[down - 1]
        small = F.interpolate(images, (size, size), mode=mode, antialias=rng.random() < 0.5)
    return F.interpolate(small, images.shape[2:], mode=up)


def posterise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Uniform steps, with or without noise added before rounding and taken off after."""
    step = _log_uniform(0.03, 0.7, rng)
    dither = torch.rand(images.shape, generator=_torch_generator(rng)) - 0.5
    dither = dither * float(rng.random() < 0.3)
    return (torch.round(images / step + dither) - dither) * step


FAMILIES: dict[str, Distortion] = {
    "gaussian_blur": gaussian_blur,
    "white_noise": white_noise,
    "smooth_noise": smooth_noise,
    "jpeg": jpeg,
    "tone": tone,
    "colour": colour,
    "warp": warp,
    "down_up": down_up,
    "posterise": posterise,
}


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _torch_generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    return torch.randn(shape, generator=_torch_generator(rng))
