"""The images that a benchmark measures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldm_ae.bench.coder import Pixels
from ldm_ae.data.folder import EMBEDDED_VALIDATION, embedded_photos
from ldm_ae.data.images import load_image
from ldm_ae.data.paths import find_images
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Photo:
    """A test image, read when it is needed."""

    name: str
    path: Path

    def pixels(self) -> Pixels:
        """Raises BrokenImageError, a UserError, where it is not what it was when it was listed."""
        return load_image(self.path)


def list_photos(
    images: str | Path, limit: int | None = None, reader: Reader | None = None
) -> list[Photo]:
    """The images under a folder, in any layout, sorted; or, for "embedded", the photos of
    scikit-image that no training of this package sees. Each is opened once: the reader leaves out
    what cannot be used. Raises UserError if there are none."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: measure at least 1 image")
    if str(images) == EMBEDDED:
        photos = [Photo(path.name, path) for path in embedded_photos(EMBEDDED_VALIDATION)]
    else:
        folder = Path(images)
        photos = [Photo(path.relative_to(folder).as_posix(), path) for path in find_images(folder)]
    usable = {path for path, _ in (reader or Reader()).images(p.path for p in photos[:limit])}
    if not usable:
        raise UserError(f"--images {images}: none of its images can be used")
    return [photo for photo in photos[:limit] if photo.path in usable]


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of the size and the pixels: which image a row is of, whatever its file."""
    shape = np.array(pixels.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
