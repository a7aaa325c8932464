"""Batches that are named beforehand, read in this process or by workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ldm_ae.data.randomness import epoch_order
from ldm_ae.data.worker_signals import blocked_for_workers, heed_training_alone

Jobs = Iterator[list[tuple[int, int]]]


def read(
    source: Dataset, jobs: Jobs | None, num_workers: int, device: torch.device, ahead: int = 2
) -> Iterator[Any]:
    """What `source` gives for each of `jobs`, or as it iterates where they are None.

    source: gives whole batches, or single samples of a stream. ahead: of each worker.
    """
    loader: DataLoader = DataLoader(
        source,
        batch_size=None,
        sampler=None if jobs is None else _Once(jobs),
        num_workers=num_workers,
        collate_fn=_as_is,
        prefetch_factor=ahead if num_workers else None,
        worker_init_fn=heed_training_alone,
        generator=torch.Generator(),  # else its seed is drawn from the run's random numbers
        pin_memory=device.type == "cuda",
    )
    with blocked_for_workers():
        return iter(loader)


def batch_jobs(
    num_images: int, seed: int, start: int, batch_size: int, rank: int, world_size: int
) -> Jobs:
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


class _Once:
    """An iterator as a sampler."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def __iter__(self) -> Jobs:
        return self.jobs


def _as_is(sample: object) -> object:
    return sample
