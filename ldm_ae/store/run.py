"""A job on one machine: planned, shared among processes, told of, and ended as a whole."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ldm_ae.data.source import Source
from ldm_ae.errors import UserError
from ldm_ae.files import clear_stale, replacing
from ldm_ae.folder_lock import locked
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.files_layout import stem_of
from ldm_ae.store.job import Job
from ldm_ae.store.parts import STATE, claim, indexed, merged_statistics, plan, read_index
from ldm_ae.store.processes import run_processes
from ldm_ae.store.work import Report, Worker
from ldm_ae.threads import using_threads

SUMMARY = "summary.json"


@dataclass
class Outcome:
    """What a run did. pictures: of the source. left_out: name -> reason. encoded: views computed in
    this run, by networks that were busy for the share `busy` of its `seconds`."""

    pictures: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    encoded: int = 0
    busy_s: float = 0.0
    seconds: float = 0.0
    processes: int = 1

    def add(self, report: Report) -> None:
        self.pictures += report.pictures
        self.left_out |= dict(report.left_out)
        self.encoded += report.encoded
        self.busy_s += report.busy_s

    @property
    def busy(self) -> float:
        return self.busy_s / (self.seconds * self.processes)


def encode_dataset(
    job: Job,
    folder: Path,
    *,
    processes: int = 1,
    threads: int | None = None,
    begun: Callable[[int], None] = lambda total: None,
    report: Callable[[Report], None] = lambda report: None,
) -> Outcome:
    """Make `folder` the store of a job: encode what is new or changed, keep the rest, let go what
    the source has no more. Killed at any moment, it goes on where it was when it is called again.

    threads: of each process' network; by default the cores there are, shared among the processes.
    begun: told the number of pictures. report: told of progress.
    Raises UserError for a folder of another job, or one that another process works on, for a
    source or model that cannot be opened or do not fit, MemoryError, and FloatingPointError for
    latents that are not finite.
    """
    if processes < 1 or (threads is not None and threads < 1):
        raise UserError(f"processes {processes}, threads {threads}: both must be at least 1")
    threads = threads or max(1, num_cores() // processes)
    encoder = LatentEncoder(job.model, job.storage)
    job.views.require_multiples(encoder.facts["downsampling_factor"])
    source = job.open_source()
    with locked(folder, "OUT"):
        parts = plan(folder, source, job.shard_size)
        _require_names(job, source)
        claim(folder, job.fingerprint(encoder.facts))
        _clear(folder)
        outcome = Outcome(processes=min(processes, len(parts)))
        begun(len(source))
        began: list[float] = []  # when the first of the processes had opened its model

        def told(news: Report) -> None:
            began.append(time.perf_counter())
            del began[1:]
            outcome.add(news)
            report(news)

        try:
            if outcome.processes == 1:
                with using_threads(threads):
                    Worker(job, source, encoder, folder).run(parts, told)
            else:
                work = partial(_work, job, folder, threads)
                run_processes(work, parts, outcome.processes, told)
            outcome.seconds = time.perf_counter() - began[0]
        finally:
            _clear(folder)
        _summarise(folder)
    return outcome


def _work(
    job: Job, folder: Path, threads: int, rank: int, parts: Iterator[Any], told: Callable[..., None]
) -> None:
    """What each of several processes does."""
    with using_threads(threads):
        encoder = LatentEncoder(job.model, job.storage)
        encoder.open(rank)
        Worker(job, job.open_source(), encoder, folder).run(parts, told)


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clear(folder: Path) -> None:
    """What runs that were killed have left half-written."""
    for place, _, _ in os.walk(folder):
        clear_stale(Path(place))


def _require_names(job: Job, source: Source) -> None:
    """Raise UserError for two pictures whose files would have one name."""
    if job.layout != "files":
        return
    seen: dict[PurePosixPath, str] = {}
    for row in range(len(source)):
        key = source.key(row)
        stem = stem_of(key)
        if seen.setdefault(stem, key) != key:
            raise UserError(f"{seen[stem]} and {key} would have one file: rename one")


def _summarise(folder: Path) -> None:
    """Of the whole store: how much there is, and the latents' statistics, for a factor measured on
    just this data."""
    indexes = [read_index(folder, number) for number in indexed(folder)]
    kept = [entry for index in indexes for entry in index.entries if entry.reason is None]
    summary: dict[str, Any] = {
        "num_pictures": len(kept),
        "num_left_out": sum(len(index.entries) for index in indexes) - len(kept),
        "num_rows": sum(len(index.views) for index in indexes),
        "num_bytes": sum(sum(index.files.values()) for index in indexes),
    }
    total = merged_statistics(index.statistics for index in indexes)
    if total:
        variance = [squares / total["count"] for squares in total["squares"]]
        mean = math.fsum(total["mean"]) / len(variance)
        spread = (v + (m - mean) ** 2 for v, m in zip(variance, total["mean"], strict=True))
        summary |= {
            "channel_mean": total["mean"],
            "channel_std": [math.sqrt(v) for v in variance],
            "mean": mean,
            "std": math.sqrt(math.fsum(spread) / len(variance)),
        }
    with replacing(folder / STATE / SUMMARY) as aside:
        aside.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
