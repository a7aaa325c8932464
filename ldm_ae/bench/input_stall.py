"""Does the model wait for its data? The share of step time spent waiting for the next batch.

A model is trained for a few dozen steps from a folder, from parquet and from tar shards of the
same photos, as tables and as streams, decoding every image anew and from the cache. A loader hides
a shortage for as long as its prefetched batches last, so what it supplies without a model is
measured too: it must be above what the model takes.
"""

from __future__ import annotations

import io
import statistics
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ldm_ae.data.config import DataConfig
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.config import Experiment
from ldm_ae.train.steps import train_step

NUM_SHARDS = 8


def sources(
    folder: Path, photos: Sequence[Path], scratch: Path, data: DataConfig
) -> Iterator[tuple[str, DataConfig]]:
    """Every way to read the photos of a folder, each without and with the cache if it has one."""
    parquet, tar = scratch / "parquet", scratch / "tar"
    write_parquet(photos, parquet)
    write_tars(photos, tar)
    tables = (
        replace(data, kind="folder", path=str(folder)),
        replace(data, kind="parquet", path=str(parquet)),
        replace(data, kind="tar", path=str(tar)),
    )
    for table in tables:
        yield table.kind, replace(table, cache_mb=0)
        yield table.kind, table
    for table in tables[1:]:
        yield f"{table.kind} stream", replace(table, streaming=True, cache_mb=0)


def write_parquet(files: Sequence[Path], folder: Path, num_shards: int = NUM_SHARDS) -> None:
    folder.mkdir()
    for number in range(num_shards):
        cells = [{"bytes": p.read_bytes(), "path": p.name} for p in files[number::num_shards]]
        pq.write_table(
            pa.table({"image": cells}), folder / f"{number:03d}.parquet", row_group_size=100
        )


def write_tars(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for number in range(NUM_SHARDS):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as shard:
            for index, path in enumerate(files[number::NUM_SHARDS]):
                payload = path.read_bytes()
                header = tarfile.TarInfo(f"{index:06d}{path.suffix}")
                header.size = len(payload)
                shard.addfile(header, io.BytesIO(payload))


def measure(name: str, experiment: Experiment, num_steps: int, num_before: int) -> dict[str, Any]:
    """One row: waits and step times of a short training, then the loader alone. num_before: steps
    that are not counted."""
    config = experiment.train
    accelerator = make_accelerator(config, Path(config.run_dir))
    data = open_data(experiment.data)
    loader = TrainLoader(data, config.batch_size, config.seed, device=accelerator.device)
    state = build_state(experiment, accelerator)
    batches = loader.batches()
    waits, steps = [], []
    for step in range(num_before + num_steps):
        started = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        train_step(state, [batch], step)
        if batch.images.is_cuda:
            torch.cuda.synchronize()
        waits.append(arrived - started)
        steps.append(time.perf_counter() - started)
    del batches  # ends its workers
    first_wait = waits[0]
    waits, steps = waits[num_before:], steps[num_before:]
    accelerator.free_memory()
    return {
        "source": name,
        "cache_mb": experiment.data.cache_mb,
        "wait_share": sum(waits) / sum(steps),
        "median_wait_ms": 1e3 * statistics.median(waits),
        "longest_wait_ms": 1e3 * max(waits),
        "first_wait_s": first_wait,
        "median_step_s": statistics.median(steps),
        "model_images_per_s": config.batch_size * len(steps) / sum(steps),
        "supply_images_per_s": supply(loader, config.batch_size, num_steps),
    }


def supply(loader: TrainLoader, batch_size: int, num_batches: int) -> float:
    """Images/s of the loader alone, its workers started and nothing prefetched before."""
    batches = loader.batches()
    next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in islice(batches, num_batches))
    return count * batch_size / (time.perf_counter() - started)
