"""Does a latent store survive kills, come out alike on other engines, and keep the encoder busy?

Each job runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ldm_ae.bench.encode_dataset_readers import READERS
from ldm_ae.bench.forked import finished, killed_after, started
from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import OPENERS, kind_of
from ldm_ae.data.texts import TextColumns
from ldm_ae.store.engines import encode_with_ray
from ldm_ae.store.job import Job, LayoutName
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.parts import Part
from ldm_ae.store.preparing import Preparation, ahead
from ldm_ae.store.rows import Row
from ldm_ae.store.run import encode_dataset, num_cores
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.views import Views

TOLERANCE = 0.01  # of the latents' deviation: fp16 and the order of sums
_SHARD = 24
_READ = 32  # pictures, for the readers


def subset(images: str, limit: int, path: Path) -> Path:
    """The first pictures of a source with their labels, as one parquet shard."""
    kind = kind_of(images)
    config = DataConfig(kind=kind, path=images, streaming=kind in ("parquet", "tar"))
    source = OPENERS[kind](config, "--images")
    cells, labels = [], []
    for row, (name, found) in enumerate(islice(source.items(range(len(source))), limit)):
        content = Path(found).read_bytes() if isinstance(found, str) else found
        assert isinstance(content, bytes), name
        cells.append({"bytes": content, "path": None})
        labels.append(source.texts(row, TextColumns()).label)
    pq.write_table(pa.table({"image": cells, "label": labels}), path, row_group_size=50)
    return path


@dataclass(frozen=True)
class Bench:
    """Jobs of the same pictures in folders below `scratch`."""

    job: Job
    scratch: Path

    def start(self, name: str, job: Job | None = None, processes: int = 1) -> ForkServerProcess:
        """A process that works on a job; its outcome comes to a file."""
        return started(_encode, job or self.job, self.scratch / name, processes)

    def run(self, name: str, job: Job | None = None, processes: int = 1) -> dict[str, Any]:
        finished(self.start(name, job, processes))
        said: dict[str, Any] = json.loads((self.scratch / f"{name}.json").read_text())
        return said

    def run_killed(self, kills: int, seconds: float, seed: int) -> list[Path]:
        """Lives of random length until so many were cut short; the folder of each run, all of
        which ended by themselves at last."""
        rng, folders, left = random.Random(seed), list[Path](), kills
        while left or not folders:
            folder = self.scratch / f"killed-{len(folders)}"
            folders.append(folder)
            while left and killed_after(self.start(folder.name), rng.uniform(0.05, 0.3) * seconds):
                left -= 1
            finished(self.start(folder.name))
        return folders


def _encode(job: Job, folder: Path, processes: int) -> None:
    outcome = encode_dataset(job, folder, processes=processes)
    if not outcome.encoded:
        return
    said = {
        "crops": outcome.encoded,
        "seconds": round(outcome.seconds, 1),
        "crops_per_s": round(outcome.encoded / outcome.seconds, 2),
        "encoder_busy": round(outcome.busy, 4),
        "load_average": round(os.getloadavg()[0], 1),
    }
    folder.with_suffix(".json").write_text(json.dumps(said))


def measure(
    photos: Path, model: str, size: int, kills: int, seed: int, scratch: Path
) -> dict[str, Any]:
    """The report."""
    job = Job(
        DataConfig(kind="parquet", path=str(photos), streaming=True),
        ModelChoice(model),
        Views(size=size),
        Storage("moments"),
        shard_size=_SHARD,
    )
    bench = Bench(job, scratch)
    untouched = bench.run("untouched")
    folders = bench.run_killed(kills, untouched["seconds"], seed)
    two = bench.run("two", processes=2)
    engines: dict[str, Any] = {"two processes": two}
    if importlib.util.find_spec("ray") is not None:
        began = time.perf_counter()
        finished(started(_with_ray, job, scratch / "ray"))
        engines["Ray, 2 actors"] = {"seconds": round(time.perf_counter() - began, 1)}
    few = replace(job.data, path=str(subset(str(photos), _READ, scratch / "few.parquet")))
    reading = replace(job, data=few, storage=Storage())
    layouts: tuple[LayoutName, ...] = ("parquet", "tar", "files")
    stores: dict[str, Path] = {layout: scratch / layout for layout in layouts}
    for layout in layouts:
        bench.run(layout, replace(reading, layout=layout))
    coded = bench.run("coded", replace(reading, storage=Storage("coded")))
    wanted = rows_of(scratch / "untouched")
    found = {"two processes": scratch / "two", "Ray, 2 actors": scratch / "ray"}
    return {
        "protocol": _protocol(job, len(wanted)),
        "untouched": untouched | {"supply_per_s": round(supply(job, 3), 1)},
        "killed_and_resumed": {
            "kills": kills,
            "runs": len(folders),
            "byte_identical": all(digest(f) == digest(scratch / "untouched") for f in folders),
            "sha256": digest(scratch / "untouched"),
        },
        "engines": {
            name: said | compare(rows_of(found[name]), wanted) for name, said in engines.items()
        },
        "coded": coded | coded_bytes(scratch / "coded", scratch / "parquet"),
        "readers": {
            name: read(stores, scratch) for name, read in READERS.items() if read is not None
        },
    }


def supply(job: Job, channels: int) -> float:
    """Pictures a second that are read, decoded and cut while no network computes: what the encoder
    is given at most."""
    source = job.open_source()
    rows = tuple(range(len(source)))
    preparation = Preparation(job, source, channels)
    began = time.perf_counter()
    for _ in ahead(preparation.of(Part(0, rows), {})):
        pass
    return len(rows) / (time.perf_counter() - began)


def _with_ray(job: Job, folder: Path) -> None:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    encode_with_ray(job, folder, actors=2, num_cpus=0.5)
    ray.shutdown()


def _protocol(job: Job, number: int) -> dict[str, Any]:
    return {
        "model": str(job.model.folder),
        "pictures": number,
        "size": job.views.size,
        "latents": job.storage.content,
        "dtype": job.storage.dtype,
        "batch_size": job.batch_size,
        "shard_size": job.shard_size,
        "threads": num_cores(),
        "encoder_busy": "time within the encoder's calls, of all from the first picture that is "
        "read to the last shard on disk; of each process",
        "tolerance": f"{TOLERANCE} of the latents' deviation",
    }


def rows_of(folder: Path) -> list[Row]:
    """A store's rows in order of id."""
    store = LatentStore(folder)
    return sorted((store.row(n) for n in range(len(store))), key=lambda row: row.id)


def compare(found: Sequence[Row], wanted: Sequence[Row]) -> dict[str, Any]:
    """Ids, metadata, latents."""
    bare = {"latents": b"", "channel_mean": [], "channel_std": []}
    largest, squares, count = 0.0, 0.0, 0
    for one, other in zip(found, wanted, strict=True):
        here, there = one.tensor().double().chunk(2)[0], other.tensor().double().chunk(2)[0]
        largest = max(largest, float((here - there).abs().max()))
        squares, count = squares + float(there.square().sum()), count + there.numel()
    relative = largest / (squares / count) ** 0.5
    return {
        "same_ids": [row.id for row in found] == [row.id for row in wanted],
        "same_metadata": [replace(row, **bare) for row in found]  # type: ignore[arg-type]
        == [replace(row, **bare) for row in wanted],  # type: ignore[arg-type]
        "largest_difference": relative,
        "within_tolerance": relative <= TOLERANCE,
    }


def coded_bytes(coded: Path, plain: Path) -> dict[str, float]:
    """Bytes of the .lae files, headers included, of pictures whose latents are stored plainly as
    well, and what share they are of one byte a value."""
    num_bytes = sum(len(row.latents) for row in rows_of(coded))
    rows = rows_of(plain)
    num_values = sum(row.tensor().numel() for row in rows)
    return {
        "bytes_per_picture": num_bytes / len(rows),
        "bits_per_value": 8 * num_bytes / num_values,
        "of_int8": num_bytes / num_values,
    }


def digest(folder: Path) -> str:
    """SHA-256 over all files of a store and their names."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name != ".lock":  # it names a process
            found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
