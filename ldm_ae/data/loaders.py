"""Endless training batches whose content is a pure function of (seed, images seen).

Position p counts images over the whole run and all ranks. With N images, epoch e = p // N visits
them in the order `epoch_order(seed, e)`, and the crop at p is drawn from `generator(seed, VIEW,
p)`. Global batch g holds positions [g B W, (g + 1) B W), rank r of W its block r of B. So W ranks
with B see what one process with W B sees, and a run starts anywhere by naming a position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ldm_ae.data.batch import Batch
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError, to_float
from ldm_ae.data.randomness import REPLACEMENT, VIEW, epoch_order, generator
from ldm_ae.data.shards import open_shards
from ldm_ae.data.sources import ImageTable, check_usable, open_table
from ldm_ae.data.streams import StreamViews
from ldm_ae.data.transforms import decode_for_training, random_view
from ldm_ae.data.worker_signals import blocked_for_workers, heed_training_alone

RawBatch = tuple[Tensor, Tensor, list[str], list[str]]  # uint8 (B, C, H, W), keys, names, skipped

_MAX_REPLACEMENTS = 1000


class TrainLoader:
    """The training images of a config, checked when made; `batches` starts at any position.

    Raises ValueError at once for a source that is missing, empty, or without a usable image.
    `batch_size` is per rank. Images arrive on `device`, keys in main memory.
    """

    def __init__(
        self,
        config: DataConfig,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}: must be in 0..{world_size - 1}")
        self.config, self.batch_size, self.seed = config, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.device = torch.device(device)
        if config.streaming:
            self.stream = open_shards(config)
            check_usable(self.stream.label, len(self.stream), self._try_streamed)
            self.num_images = len(self.stream)
        else:
            self.views = TableViews(open_table(config, "train"), config, seed)
            check_usable(self.views.table.label, len(self.views.table), self.views.decoded)
            self.views.fill_cache()
            self.num_images = len(self.views.table)

    def batches(self, start_position: int = 0) -> Iterator[Batch]:
        """Endless batches from the global batch that begins at `start_position` on."""
        if start_position < 0:
            raise ValueError(f"start_position={start_position}: must not be negative")
        raw = (
            self._streamed(start_position) if self.config.streaming else self._rows(start_position)
        )
        for pixels, keys, names, skipped in raw:
            images = to_float(pixels.to(self.device, non_blocking=True))
            # The keys' values are read at each step, which must not wait for the GPU.
            yield Batch(images, keys, names, skipped)

    def _rows(self, start_position: int) -> Iterator[RawBatch]:
        jobs = batch_jobs(
            len(self.views.table),
            self.seed,
            start_position,
            self.batch_size,
            self.rank,
            self.world_size,
        )
        return self._started(self.views, 2, sampler=_Once(jobs))

    def _streamed(self, start_position: int) -> Iterator[RawBatch]:
        views = StreamViews(
            self.stream,
            self.config,
            self.seed,
            start_position,
            self.rank,
            self.world_size,
        )
        workers = max(1, self.config.num_workers)
        ahead = max(2, 2 * self.batch_size // workers)
        samples = self._started(views, ahead)
        while True:
            taken = [next(samples) for _ in range(self.batch_size)]
            pixels = torch.from_numpy(np.stack([s.pixels for s in taken]))  # (B, H, W, C)
            keys = torch.tensor([s.position for s in taken])
            skipped = [line for s in taken for line in s.skipped]
            yield pixels.permute(0, 3, 1, 2), keys, [s.name for s in taken], skipped

    def _started(self, views: Dataset, ahead: int, sampler: _Once | None = None) -> Iterator[Any]:
        """What the views give, in this process or by workers that are started here."""
        workers = self.config.num_workers
        loader: DataLoader = DataLoader(
            views,
            batch_size=None,  # the views give whole batches, or single samples of a stream
            sampler=sampler,
            num_workers=workers,
            collate_fn=_as_is,
            prefetch_factor=ahead if workers else None,
            worker_init_fn=heed_training_alone,
            generator=torch.Generator(),  # else its seed is drawn from the run's random numbers
            pin_memory=self.device.type == "cuda",
        )
        with blocked_for_workers():
            return iter(loader)

    def _try_streamed(self, index: int) -> None:
        name, encoded = self.stream.at(index)
        if isinstance(encoded, BrokenImageError):
            raise BrokenImageError(f"{name}: {encoded}")
        decode_for_training(name, encoded, self.config)


def make_train_loader(
    config: DataConfig,
    batch_size: int,
    seed: int,
    start_position: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """`TrainLoader(...).batches(start_position)`: a bad source raises here, not later."""
    loader = TrainLoader(config, batch_size, seed, rank=rank, world_size=world_size, device=device)
    return loader.batches(start_position)


def batch_jobs(
    num_images: int, seed: int, start: int, batch_size: int, rank: int, world_size: int
) -> Iterator[list[tuple[int, int]]]:
    """Endless lists of (position, index) for one rank's batches; holds one epoch's order."""
    epoch, order = -1, np.empty(0)
    first = start + rank * batch_size
    while True:
        jobs = []
        for position in range(first, first + batch_size):
            if position // num_images != epoch:
                epoch = position // num_images
                order = epoch_order(seed, epoch, num_images)
            jobs.append((position, int(order[position % num_images])))
        yield jobs
        first += batch_size * world_size


class TableViews(Dataset[RawBatch]):
    """(position, index) pairs => random views of those images, replaced where unusable."""

    def __init__(self, table: ImageTable, config: DataConfig, seed: int) -> None:
        self.table, self.config, self.seed = table, config, seed
        self.cache: list[Image.Image | str] = []  # an image, or why there is none

    def decoded(self, index: int) -> Image.Image:
        if self.cache:
            found = self.cache[index]
            if isinstance(found, str):
                raise BrokenImageError(found)
            return found
        name = self.table.name(index)
        try:
            encoded = self.table.read(index)
        except BrokenImageError as error:
            raise BrokenImageError(f"{name}: {error}") from error
        return decode_for_training(name, encoded, self.config)

    def fill_cache(self) -> None:
        """Decode everything once if it fits in `cache_mb`; forked workers share the memory."""
        budget = self.config.cache_mb * 2**20
        used, images = 0, list[Image.Image | str]()
        for index in range(len(self.table)):
            try:
                image = self.decoded(index)
                images.append(image)
                used += image.width * image.height * (1 if image.mode == "L" else 4)
            except BrokenImageError as error:
                images.append(str(error))
            if used * len(self.table) > budget * max(len(images), 16):
                return  # the mean so far says that the whole will not fit
        self.cache = images

    def __getitem__(self, jobs: list[tuple[int, int]]) -> RawBatch:
        views, names, skipped = [], [], list[str]()
        for position, index in jobs:
            index, image = self._usable(position, index, skipped)
            rng = generator(self.seed, VIEW, position)
            views.append(random_view(image, self.config, rng))
            names.append(self.table.name(index))
        pixels = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)  # (B, C, H, W)
        return pixels, torch.tensor([p for p, _ in jobs]), names, skipped

    def _usable(self, position: int, index: int, skipped: list[str]) -> tuple[int, Image.Image]:
        """This image, or the first usable one of a sequence that the position decides."""
        rng = generator(self.seed, REPLACEMENT, position)
        for _ in range(_MAX_REPLACEMENTS):
            try:
                return index, self.decoded(index)
            except BrokenImageError as error:
                skipped.append(str(error))
                index = int(rng.integers(len(self.table)))
        raise ValueError(
            f"{self.table.label}: {_MAX_REPLACEMENTS} images in a row are unusable; "
            f"the last one: {skipped[-1]}"
        )


class _Once:
    """An iterator as a sampler."""

    def __init__(self, jobs: Iterator[list[tuple[int, int]]]) -> None:
        self.jobs = jobs

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.jobs


def _as_is(sample: object) -> object:
    return sample
