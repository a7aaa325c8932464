"""Whoever reads, an epoch is every image once: ranks x workers, sources, uneven counts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ldm_ae.data.batch_jobs import batch_jobs
from ldm_ae.data.config import DataConfig
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.source import Shard, Source, TrainingImages
from ldm_ae.data.streams import lane_items

COUNTS = [9, 0, 5, 9]
NUM_IMAGES = sum(COUNTS)  # 23, a prime
SOURCES = {
    "folder": ("folder", False),
    "parquet": ("parquet", False),
    "parquet stream": ("parquet", True),
    "tar": ("tar", False),
    "tar stream": ("tar", True),
}


@pytest.fixture(params=SOURCES)
def config(request: pytest.FixtureRequest, tmp_path: Path, make: SimpleNamespace) -> DataConfig:
    kind, streaming = SOURCES[request.param]
    if kind == "folder":
        make.folder(tmp_path / "in", NUM_IMAGES)
    else:
        (make.tars if kind == "tar" else make.shards)(tmp_path / "in", COUNTS)
    return DataConfig(
        kind=kind,  # type: ignore[arg-type]
        path=str(tmp_path / "in"),
        streaming=streaming,
        stream_lanes=4,
        shuffle_window=3,
        size=16,
        num_workers=2,
        validation_count=0,
        cache_mb=0,
    )


def taken(config: DataConfig, start: int, count: int) -> dict[int, tuple[str, torch.Tensor]]:
    """position => (name, crop) of `count` batches of 3 on each of 2 ranks."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for rank in range(2):
        loader = TrainLoader(open_data(config), 3, seed=5, rank=rank, world_size=2)
        for batch in islice(loader.batches(start), count):
            for key, name, image in zip(batch.keys, batch.names, batch.images, strict=True):
                assert int(key) not in found
                found[int(key)] = (name, image)
    return found


def test_two_ranks_of_two_workers(config: DataConfig) -> None:
    found = taken(config, 0, 8)  # 48 positions: two epochs and two images
    assert sorted(found) == list(range(48))
    epochs = [[found[p][0] for p in range(e, e + NUM_IMAGES)] for e in (0, NUM_IMAGES)]
    assert all(len(set(names)) == NUM_IMAGES for names in epochs)
    assert epochs[0] != epochs[1]
    again = taken(config, 24, 4)  # resumed by position, within the second epoch
    assert sorted(again) == list(range(24, 48))
    for position, (name, image) in again.items():
        assert name == found[position][0]
        assert torch.equal(image, found[position][1])


@pytest.mark.parametrize("case", range(30))
def test_any_division_of_a_table(case: int) -> None:
    rng = np.random.default_rng(case)
    num_images, batch, world_size = (int(rng.integers(1, high)) for high in (60, 9, 5))
    start = int(rng.integers(0, 4)) * batch * world_size
    num_batches = -(-(3 * num_images) // (batch * world_size)) + 1
    found = {
        position: index
        for rank in range(world_size)
        for jobs in islice(batch_jobs(num_images, 0, start, batch, rank, world_size), num_batches)
        for position, index in jobs
    }
    assert sorted(found) == list(range(start, start + num_batches * batch * world_size))
    assert_whole_epochs(found, num_images)


@dataclass
class Numbers(Shard):
    """A shard of numbers instead of images."""

    first: int
    count: int

    def __len__(self) -> int:
        return self.count

    def name(self, row: int) -> str:
        return str(self.first + row)

    def read(self, row: int) -> bytes:
        return b""


@pytest.mark.parametrize("case", range(30))
def test_any_division_of_a_stream(case: int) -> None:
    rng = np.random.default_rng(case)
    counts = rng.integers(0, 12, int(rng.integers(1, 6)))
    counts[0] += 2
    firsts = np.cumsum(counts) - counts
    held_out = [np.sort(rng.permutation(count)[: count // 5]) for count in counts]
    shards = tuple(Numbers(int(f), int(c)) for f, c in zip(firsts, counts, strict=True))
    rows = np.concatenate([f + h for f, h in zip(firsts, held_out, strict=True)])
    images = TrainingImages(Source("numbers", shards), rows)
    lanes, window = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    start, count = int(rng.integers(0, 50)), 4 * len(images)
    found: dict[int, int] = {}
    for position in range(start, start + min(lanes, count)):
        items = lane_items(images, 0, position, lanes, window)
        for p in range(position, start + count, lanes):
            found[p] = int(next(items)[0])
    assert sorted(found) == list(range(start, start + count))
    kept = {
        int(f) + i
        for f, c, h in zip(firsts, counts, held_out, strict=True)
        for i in range(c)
        if i not in h
    }
    assert set(found.values()) == kept
    assert_whole_epochs(found, len(images))


def assert_whole_epochs(found: dict[int, int], num_images: int) -> None:
    epochs: dict[int, list[int]] = {}
    for position, index in found.items():
        epochs.setdefault(position // num_images, []).append(index)
    whole = [indices for indices in epochs.values() if len(indices) == num_images]
    assert len(whole) >= 2
    assert all(len(set(indices)) == num_images for indices in whole)
    assert all(len(set(indices)) == len(indices) for indices in epochs.values())
