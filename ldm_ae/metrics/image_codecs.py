"""JPEG and WebP, as Pillow writes them: the rows to compare a latent space with.

Pillow's defaults apart from the quality: JPEG with 4:2:0 chroma and standard Huffman tables,
lossy WebP with method 4. The rate is the size of the file, header included.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)
WEBP_QUALITIES = (0, 10, 30, 50, 75, 90)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageCodec:
    """One format at one quality, 0 to 100."""

    format: Literal["jpeg", "webp"]
    quality: int

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 100:
            raise ValueError(f"{self.format} quality={self.quality}: give 0 to 100")
        if not features.check("jpg" if self.format == "jpeg" else self.format):
            raise ValueError(f"this Pillow was built without {self.format}: leave that codec out")

    @property
    def name(self) -> str:
        return f"{self.format}-q{self.quality}"

    def encode(self, image: Pixels) -> bytes:
        """(H, W, 3) uint8 -> the file."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format=self.format, quality=self.quality)
        return buffer.getvalue()

    def decode(self, file: bytes) -> Pixels:
        """The file -> (H, W, 3) uint8."""
        with Image.open(io.BytesIO(file), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))
