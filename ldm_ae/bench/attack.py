"""An attack on every way into the package: hostile files by the thousand, each to be read or to be
refused by a UserError, soon, in bounded memory, without another file and without the network.

Each kind has a process of its own, whose opens and sockets are watched by an audit hook: of what
Python does, not of what C libraries open by themselves.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ldm_ae.bench import attack_data, attack_targets
from ldm_ae.bench.mutations import Target
from ldm_ae.errors import UserError

SECONDS = 5.0  # of the processor, for one file; more is a fault
_KEPT = 12  # of the commonest reasons, of the faults

TARGETS: dict[str, Callable[[Path, Path], Target]] = {
    ".lae": attack_targets.lae,
    "config.json": attack_targets.config_json,
    "safetensors": attack_targets.safetensors,
    "prior": attack_targets.prior,
    ".bin": attack_targets.pickled,
    "YAML": attack_targets.yaml,
    "tar": attack_data.tar,
    "parquet": attack_data.parquet,
    "images": attack_data.images,
}
# Of all cases; by how long one takes.
SHARES = {
    ".lae": 0.4,
    "config.json": 0.1,
    "safetensors": 0.08,
    "prior": 0.06,
    ".bin": 0.06,
    "YAML": 0.08,
    "tar": 0.03,
    "parquet": 0.03,
    "images": 0.16,
}


@dataclass
class Outcome:
    """worst_seconds: of the processor, for one file. memory_mib: growth of the process' peak.
    opened: files outside of the folder that were opened. faults: whatever else than a UserError a
    file led to, each with its number."""

    num_files: int
    read: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    worst_seconds: float = 0.0
    memory_mib: float = 0.0
    opened: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.opened or self.connections or self.faults)


class Watch:
    """Notes what is opened outside of a folder, and refuses sockets, while it is on. Modules that
    are imported late, and what the system tells of this process, are passed over."""

    def __init__(self, folder: Path) -> None:
        self.opened: collections.Counter[str] = collections.Counter()
        self.connections: collections.Counter[str] = collections.Counter()
        self.on = False
        own = (
            os.path.realpath(folder),
            sys.prefix,
            sys.base_prefix,
            str(Path(__file__).parents[2]),
        )
        self._allowed = (*own, "/proc/self", "/dev/null", "/dev/urandom")
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(self._allowed):
                self.opened[path] += 1
        elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            self.connections[f"{event} {arguments[1:]}"] += 1
            raise PermissionError("the attack refuses sockets")


def attack_apart(kind: str, model: Path, num_files: int, seed: int) -> Outcome:
    """`attack` in a process of its own, so that its peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_prepared, kind, model, num_files, seed).result()
        except BrokenProcessPool:
            return Outcome(num_files, faults=["the process died"])


def _prepared(kind: str, model: Path, num_files: int, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        target = TARGETS[kind](model, Path(folder))
        target.read(target.whole[0])  # what is opened once is opened before the watch begins
        return attack(target, num_files, seed, Watch(Path(folder)))


def attack(target: Target, num_files: int, seed: int, watch: Watch) -> Outcome:
    rng = np.random.default_rng(seed)
    outcome = Outcome(num_files)
    refused: collections.Counter[str] = collections.Counter()
    before = _peak_memory()
    for number in range(num_files):
        data = target.hostile(target.whole, rng)
        began, watch.on = time.process_time(), True
        try:
            target.read(data)
            outcome.read += 1
        except UserError as error:
            refused[kind_of(str(error))] += 1
        except Exception as error:
            outcome.faults.append(f"{number}: {type(error).__name__}: {error}"[:300])
        finally:
            watch.on = False
        seconds = time.process_time() - began  # what else the machine does must not count
        outcome.worst_seconds = max(outcome.worst_seconds, seconds)
        if seconds > SECONDS:
            outcome.faults.append(f"{number}: {seconds:.1f} s")
    outcome.refused = dict(refused.most_common(_KEPT)) | {"of so many kinds": len(refused)}
    outcome.memory_mib = _peak_memory() - before
    outcome.opened, outcome.connections = sorted(watch.opened), sorted(watch.connections)
    outcome.faults = outcome.faults[:_KEPT]
    return outcome


def kind_of(message: str) -> str:
    """The message without its numbers, names and ends."""
    words = ("#" if any(c.isdigit() or c in "/=" for c in w) else w for w in message.split()[:16])
    return " ".join(words)


def _peak_memory() -> float:
    """Of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
