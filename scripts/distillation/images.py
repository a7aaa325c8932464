"""Photos for the distillation: decoded once into memory, cropped at random by step number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from ldm_ae.data.formats import image_endings
from ldm_ae.data.images import decode_image
from ldm_ae.data.paths import find_files
from ldm_ae.errors import UserError

SHORT_SIDE = 256  # kept in memory; a crop is taken from this


def load_photos(sources: list[str], crop_size: int) -> list[np.ndarray]:
    """Folders, image files and parquet files (column `image`) -> RGB uint8 (H, W, 3).

    Raises UserError if a source does not exist or nothing is large enough for a crop.
    """
    photos = [photo for source in sources for photo in _read_source(Path(source))]
    photos = [photo for photo in photos if min(photo.shape[:2]) >= crop_size]
    if not photos:
        raise UserError(f"--images {sources}: no photo of at least {crop_size} pixels a side")
    return photos


def _read_source(source: Path) -> Iterator[np.ndarray]:
    if not source.exists():
        raise UserError(f"--images {source}: no such folder or file")
    kinds = image_endings() | {".parquet"}
    for path in find_files(source, kinds, "--images") if source.is_dir() else [source]:
        if path.suffix == ".parquet":
            for cell in pq.read_table(path, columns=["image"])["image"].to_pylist():
                yield _read_photo(cell["bytes"])
        else:
            yield _read_photo(path)


def _read_photo(source: Path | bytes) -> np.ndarray:
    image = decode_image(source, enough_side=SHORT_SIDE)
    scale = SHORT_SIDE / min(image.size)
    if scale < 1:
        width, height = image.size
        size = (round(width * scale), round(height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def random_crops(
    photos: list[np.ndarray], count: int, size: int, rng: np.random.Generator
) -> Tensor:
    """`count` crops, half at native scale and half shrunk, flipped at random, in [-1, 1]."""
    crops = []
    for index in rng.integers(len(photos), size=count):
        photo = photos[index]
        height, width = photo.shape[:2]
        side = size if rng.random() < 0.5 else int(rng.integers(size, min(height, width) + 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = photo[top : top + side, left : left + side]
        if side != size:
            resized = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)
            crop = np.asarray(resized)
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        crops.append(torch.from_numpy(crop.copy()))
    batch = torch.stack(crops).permute(0, 3, 1, 2).float()  # (B, 3, size, size)
    return batch / 127.5 - 1
