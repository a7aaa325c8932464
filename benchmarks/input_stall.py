"""Does the model wait for its data? The share of step time spent waiting for the next batch.

python benchmarks/input_stall.py --images DIR --out benchmarks/results/input_stall.json \
    loss.perceptual.weights=FILE

Trains the small KL model for a few dozen steps from a folder, from parquet and from tar shards
of the same photos, as tables and as streams, decoding every image anew and from the cache. A
loader hides a shortage for as long as its prefetched batches last, so what it supplies without a
model is measured too: it must be above what the model takes.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.config import load
from ldm_ae.data.batch import Batch
from ldm_ae.data.config import DataConfig
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.paths import find_images
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.config import Experiment
from ldm_ae.train.players import Players
from ldm_ae.train.precision import settle_precision
from ldm_ae.train.setup import build_perceptual_metric, build_players
from ldm_ae.train.steps import train_step

CONFIG = "kl_f8_small"
NUM_SHARDS = 8
TARGET = 0.05
SHOWN = {
    "source": "s",
    "cache_mb": "d",
    "wait_share": ".2%",
    "first_wait_s": ".2f",
    "model_images_per_s": ".1f",
    "supply_images_per_s": ".1f",
}


def main() -> None:
    arguments = parse_arguments()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        overrides = [f"data.path={arguments.images}", f"train.run_dir={scratch}/run"]
        experiment = load(Experiment, CONFIG, overrides + arguments.overrides)
        experiment, _ = settle_precision(experiment, None)
        for name, data in sources(arguments.images, Path(scratch), experiment.data):
            rows.append(measure(name, replace(experiment, data=data), arguments))
            print(format_table(rows[-1:], SHOWN), flush=True)
    worst = max(row["wait_share"] for row in rows)
    print(format_table(rows, SHOWN))
    print(f"the longest wait is {worst:.2%} of the step, the target is {TARGET:.0%}")
    protocol = {
        "config": CONFIG,
        "overrides": [o for o in arguments.overrides if "weights" not in o],
        "precision": experiment.train.precision,
        "batch_size": experiment.train.batch_size,
        "size": experiment.data.size,
        "crop": experiment.data.crop,
        "num_workers": experiment.data.num_workers,
        "num_files": len(find_images(arguments.images)),
        "steps": arguments.steps,
        "steps_before": arguments.warmup,
    }
    content = {"protocol": protocol, "target": TARGET, "worst": worst, "rows": rows}
    write_json(arguments.out, content | provenance())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=4, help="steps that are not counted")
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    return parser.parse_args()


def sources(folder: Path, scratch: Path, data: DataConfig) -> Iterator[tuple[str, DataConfig]]:
    """Every way to read the photos, each without and with the cache where it has one."""
    shards = {"folder": folder, "parquet": scratch / "parquet", "tar": scratch / "tar"}
    write_parquet(find_images(folder), shards["parquet"])
    write_tars(find_images(folder), shards["tar"])
    for kind, path in shards.items():
        for cache_mb in (0, data.cache_mb):
            yield kind, replace(data, kind=kind, path=str(path), cache_mb=cache_mb)
    for kind in ("parquet", "tar"):
        path = str(shards[kind])
        yield f"{kind} stream", replace(data, kind=kind, path=path, streaming=True, cache_mb=0)


def write_parquet(files: list[Path], folder: Path) -> None:
    folder.mkdir()
    for number in range(NUM_SHARDS):
        cells = [{"bytes": p.read_bytes(), "path": p.name} for p in files[number::NUM_SHARDS]]
        pq.write_table(
            pa.table({"image": cells}), folder / f"{number:03d}.parquet", row_group_size=100
        )


def write_tars(files: list[Path], folder: Path) -> None:
    folder.mkdir()
    for number in range(NUM_SHARDS):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as shard:
            for index, path in enumerate(files[number::NUM_SHARDS]):
                payload = path.read_bytes()
                header = tarfile.TarInfo(f"{index:06d}{path.suffix}")
                header.size = len(payload)
                shard.addfile(header, io.BytesIO(payload))


def measure(name: str, experiment: Experiment, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: waits and step times of a short training, then the loader alone."""
    config = experiment.train
    torch.manual_seed(config.seed)
    accelerator = make_accelerator(config, Path(config.run_dir))
    loader = TrainLoader(experiment.data, config.batch_size, config.seed, device=accelerator.device)
    perceptual = build_perceptual_metric(experiment, accelerator.device)
    players, _ = build_players(experiment, accelerator, perceptual)
    batches = loader.batches()
    waits, steps = [], []
    for step in range(arguments.warmup + arguments.steps):
        started = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        run_step(players, batch, step, experiment)
        waits.append(arrived - started)
        steps.append(time.perf_counter() - started)
    del batches  # ends its workers
    counted_waits, counted_steps = waits[arguments.warmup :], steps[arguments.warmup :]
    accelerator.free_memory()
    return {
        "source": name,
        "cache_mb": experiment.data.cache_mb,
        "wait_share": sum(counted_waits) / sum(counted_steps),
        "median_wait_ms": 1e3 * statistics.median(counted_waits),
        "longest_wait_ms": 1e3 * max(counted_waits),
        "first_wait_s": waits[0],
        "median_step_s": statistics.median(counted_steps),
        "model_images_per_s": config.batch_size * len(counted_steps) / sum(counted_steps),
        "supply_images_per_s": supply(loader, config.batch_size, arguments.steps),
    }


def run_step(players: Players, batch: Batch, step: int, experiment: Experiment) -> None:
    train_step(players, [batch], step, experiment.train.seed, experiment.train.clip_norm)
    if batch.images.is_cuda:
        torch.cuda.synchronize()


def supply(loader: TrainLoader, batch_size: int, num_batches: int) -> float:
    """Images/s of the loader alone, its workers started and nothing prefetched before."""
    batches = loader.batches()
    next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in islice(batches, num_batches))
    return count * batch_size / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
