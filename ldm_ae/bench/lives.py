"""Starts of a training run that can be killed at any moment, and say what they were doing.

Each life is forked from a warm process, so that a restart costs no imports.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import socket
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import ldm_ae.train.export_run as exporting
import ldm_ae.train.keeper as keeper
import ldm_ae.train.loop as loop
from ldm_ae.train.config import Experiment

PHASE_BYTES = 64


class Life:
    """One start of the run, of one or more processes, each forked and in a session of its own."""

    def __init__(self, experiment: Experiment, processes: int) -> None:
        self.phase = mmap.mmap(-1, PHASE_BYTES)
        note_phase(self.phase, "starting")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.pids = [
            fork(partial(live, experiment, rank, processes, port, self.phase))
            for rank in range(processes)
        ]
        self.codes: dict[int, int] = {}

    def ended(self) -> bool:
        for pid in set(self.pids) - set(self.codes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) == len(self.pids)

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself, and well, within the time."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() >= until:
                return False
            time.sleep(0.002)
        if any(self.codes.values()):
            raise RuntimeError(f"a life failed by itself, exit codes {list(self.codes.values())}")
        return True

    def kill(self) -> str:
        """SIGKILL to all, one random process first; returns what the first rank was doing."""
        order = random.sample(self.pids, len(self.pids))
        for pid in order:
            if pid not in self.codes:
                _kill_session(pid)
        for pid in set(order) - set(self.codes):
            os.waitpid(pid, 0)
        return bytes(self.phase[:]).rstrip(b"\0").decode()


def _kill_session(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # forked, and not yet in its own session: it has no children either
        os.kill(pid, signal.SIGKILL)


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a child; returns its id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def live(experiment: Experiment, rank: int, processes: int, port: int, phase: mmap.mmap) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    log = Path(experiment.train.run_dir).with_suffix(f".{rank}.log").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    if processes > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
        }
    if rank == 0:
        for owner, name, what in (
            (loop, "train_step", "training"),
            (loop, "validate", "validating"),
            (keeper, "save_checkpoint", "writing a checkpoint"),
            (loop, "export_run", "exporting"),
        ):
            setattr(owner, name, announcing(getattr(owner, name), what, phase))
    exporting.MIN_CROPS = 8  # statistics over more would take longer than the training
    loop.train(experiment, resume="auto")


def announcing(function: Callable[..., Any], what: str, phase: mmap.mmap) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        note_phase(phase, what)
        result = function(*arguments, **keywords)
        note_phase(phase, "between steps")
        return result

    return wrapped


def note_phase(phase: mmap.mmap, text: str) -> None:
    phase[:] = text.encode().ljust(PHASE_BYTES, b"\0")
