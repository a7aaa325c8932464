"""Reading many images one after another: what cannot be used is named, counted and left out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ldm_ae.data.bounds import BOUNDS, Bounds, BrokenImageError
from ldm_ae.data.images import decode_image, has_further_frames, to_array
from ldm_ae.errors import UserError
from ldm_ae.files import printable


class Reader:
    """Reads images, and keeps count for the end. channels, bounds: as in `decode_image`.

    broken: files that could not be used, named on the error stream at once. A file that is read
    again counts once.
    """

    def __init__(self, channels: int | None = 3, bounds: Bounds = BOUNDS) -> None:
        self.channels, self.bounds = channels, bounds
        self.broken: list[Path] = []
        self._read, self._cut = set[Path](), set[Path]()

    def images(self, paths: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        """Each file that can be used with its pixels, uint8 (H, W, C)."""
        for path in paths:
            try:
                yield path, to_array(self.decode(path))
            except BrokenImageError as error:
                self._leave_out(path, error)

    def decode(self, path: Path) -> Image.Image:
        """As `decode_image`, counted where it succeeds."""
        image = decode_image(path, self.channels, bounds=self.bounds)
        self._read.add(path)
        if has_further_frames(image):
            self._cut.add(path)
        return image

    def _leave_out(self, path: Path, reason: BrokenImageError) -> None:
        if path not in self.broken:
            tqdm.write(f"left out: {printable(f'{path}: {reason}')}", file=sys.stderr)
            self.broken.append(path)

    def finish(self) -> None:
        """Say what was passed over; raise UserError if images were left out. For the end, when the
        others are done."""
        if self._cut:
            text = f"of {len(self._cut)} files only the first frame or page was used"
            print(text, file=sys.stderr)
        if self.broken:
            total = len(self._read) + len(self.broken)
            raise UserError(
                f"{len(self.broken)} of {total} images were left out, as said above; the others are"
                " done"
            )
