"""Time of a training step, of encoding and of decoding: ours beside diffusers', on a CPU or a GPU.

Each measurement has a process of its own, in turn: what one leaves behind (kernels, memory that is
kept, a precision) does not touch another, and what slows the machine for a while slows all.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

from ldm_ae.bench.throughput_subjects import Subject
from ldm_ae.bench.throughput_timing import measure


def compare(
    subjects: list[Subject], rounds: int, seconds: float, weights: str | None
) -> list[dict[str, Any]]:
    """A row for each subject: `milliseconds`, the least of all calls, on a CPU of processor time;
    `first_seconds` of the first one, which compiles and warms up; `speed_up`: over diffusers as
    called; `over_best`: over diffusers' best setting."""
    taken: dict[Subject, list[tuple[float, float]]] = {subject: [] for subject in subjects}
    # A process for each task: no state outlives one.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(rounds):
            for subject in subjects:
                taken[subject].append(pool.submit(measure, subject, seconds, weights).result())
    rows = []
    for subject, times in taken.items():
        others = {
            other: min(taken[other])[0]
            for other in subjects
            if other.implementation == "diffusers" and _same_task(other, subject)
        }
        as_called = next(iter(others.values()))
        least, first = min(times)
        rows.append(
            {"name": subject.name}
            | asdict(subject)
            | {"milliseconds": 1e3 * least, "images_per_second": subject.batch / least}
            | {"first_seconds": first, "speed_up": as_called / least}
            | {"over_best": min(others.values()) / least}
        )
    return rows


def _same_task(a: Subject, b: Subject) -> bool:
    return (a.task, a.model, a.side, a.batch) == (b.task, b.model, b.side, b.batch)
