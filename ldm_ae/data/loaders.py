"""Endless training batches whose content is a pure function of (seed, images seen).

Position p counts images over the whole run and all ranks. With N images, epoch e = p // N visits
them in the order `epoch_order(seed, e)`, and the crop at p is drawn from `generator(seed, VIEW,
p)`. Global batch g holds positions [g B W, (g + 1) B W), rank r of W its block r of B. So W ranks
with B see what one process with W B sees, and a run starts anywhere by naming a position.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.data.batch_jobs import batch_jobs, read
from ldm_ae.data.images import to_float
from ldm_ae.data.opening import Data
from ldm_ae.data.streams import StreamViews
from ldm_ae.data.views import RawBatch, TableViews, check_usable
from ldm_ae.errors import UserError


class TrainLoader:
    """Training batches, the images checked when it is made; `batches` starts at any position.

    Raises UserError at once where no image is usable. `batch_size` is per rank. Images arrive on
    `device`, keys in main memory.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        if not 0 <= rank < world_size:
            raise UserError(f"rank={rank}: must be in 0..{world_size - 1}")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.device = torch.device(device)
        self.num_images = len(data.training)
        self.views = TableViews(data.training, data.config, seed)
        check_usable(data.training.source.label, self.num_images, self.views.decoded)
        if not data.config.streaming:
            self.views.fill_cache()

    def batches(self, start_position: int = 0) -> Iterator[Batch]:
        """Endless batches from the global batch that begins at `start_position` on."""
        if start_position < 0:
            raise UserError(f"start_position={start_position}: must not be negative")
        source = self._streamed if self.data.config.streaming else self._rows
        for pixels, keys, names, skipped, cut in source(start_position):
            images = to_float(pixels.to(self.device, non_blocking=True))
            # The keys' values are read at each step, which must not wait for the GPU.
            yield Batch(images, keys, names, skipped, cut)

    def _rows(self, start_position: int) -> Iterator[RawBatch]:
        jobs = batch_jobs(
            self.num_images,
            self.seed,
            start_position,
            self.batch_size,
            self.rank,
            self.world_size,
        )
        return read(self.views, jobs, self.data.config.num_workers, self.device)

    def _streamed(self, start_position: int) -> Iterator[RawBatch]:
        views = StreamViews(
            self.data.training,
            self.data.config,
            self.seed,
            start_position,
            self.rank,
            self.world_size,
        )
        workers = max(1, self.data.config.num_workers)
        ahead = max(2, 2 * self.batch_size // workers)
        samples = read(views, None, self.data.config.num_workers, self.device, ahead)
        while True:
            taken = [next(samples) for _ in range(self.batch_size)]
            pixels = torch.from_numpy(np.stack([s.pixels for s in taken]))  # (B, H, W, C)
            keys = torch.tensor([s.position for s in taken])
            names, cut = [s.name for s in taken], [s.name for s in taken if s.cut]
            skipped = [line for s in taken for line in s.skipped]
            yield pixels.permute(0, 3, 1, 2), keys, names, skipped, cut
