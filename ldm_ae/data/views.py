"""Random crops of images that are read by index, kept decoded in memory where they fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import has_further_frames
from ldm_ae.data.randomness import REPLACEMENT, VIEW, generator
from ldm_ae.data.source import TrainingImages
from ldm_ae.data.transforms import decode_for_training, random_view
from ldm_ae.errors import UserError

# As a `Batch`, but for its images: uint8 (B, C, H, W). A tuple is what workers can pin.
RawBatch = tuple[Tensor, Tensor, list[str], list[str], list[str]]

_MAX_REPLACEMENTS = 1000
_MAX_TRIED = 1000


def check_usable(label: str, num_images: int, use: Callable[[int], object]) -> None:
    """Raise UserError unless one image, of up to 1,000 spread over the source, can be used."""
    tried = np.unique(np.linspace(0, num_images - 1, min(num_images, _MAX_TRIED)).astype(int))
    problem = ""
    for index in tried:
        try:
            use(int(index))
        except BrokenImageError as error:
            problem = problem or str(error)
        else:
            return
    raise UserError(
        f"{label}: none of {len(tried)} images tried (of {num_images}) is usable; "
        f"the first one: {problem}"
    )


class TableViews(Dataset[RawBatch]):
    """(position, index) pairs => random views of those images, replaced where unusable."""

    def __init__(self, images: TrainingImages, config: DataConfig, seed: int) -> None:
        self.images, self.config, self.seed = images, config, seed
        self.cache: list[Image.Image | str] = []  # an image, or why there is none

    def decoded(self, index: int) -> Image.Image:
        if self.cache:
            found = self.cache[index]
            if isinstance(found, str):
                raise BrokenImageError(found)
            return found
        return decode_for_training(self.images.item(index), self.config)

    def fill_cache(self) -> None:
        """Decode everything once if it fits in `cache_mb`; forked workers share the memory."""
        budget = self.config.cache_mb * 2**20
        used, cache = 0, list[Image.Image | str]()
        for index in range(len(self.images)):
            try:
                image = self.decoded(index)
                cache.append(image)
                used += image.width * image.height * (1 if image.mode == "L" else 4)
            except BrokenImageError as error:
                cache.append(str(error))
            if used * len(self.images) > budget * max(len(cache), 16):
                return  # the mean so far says that the whole will not fit
        self.cache = cache

    def __getitem__(self, jobs: list[tuple[int, int]]) -> RawBatch:
        views, names, skipped, cut = [], [], list[str](), []
        for position, index in jobs:
            index, image = self._usable(position, index, skipped)
            rng = generator(self.seed, VIEW, position)
            views.append(random_view(image, self.config, rng))
            names.append(self.images.name(index))
            if has_further_frames(image):
                cut.append(names[-1])
        pixels = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)  # (B, C, H, W)
        return pixels, torch.tensor([p for p, _ in jobs]), names, skipped, cut

    def _usable(self, position: int, index: int, skipped: list[str]) -> tuple[int, Image.Image]:
        """This image, or the first usable one of a sequence that the position decides."""
        rng = generator(self.seed, REPLACEMENT, position)
        for _ in range(_MAX_REPLACEMENTS):
            try:
                return index, self.decoded(index)
            except BrokenImageError as error:
                skipped.append(str(error))
                index = int(rng.integers(len(self.images)))
        raise UserError(
            f"{self.images.source.label}: {_MAX_REPLACEMENTS} images in a row are unusable; "
            f"the last one: {skipped[-1]}"
        )
