"""Stopping when asked: SIGTERM and SIGINT let a run finish its step and save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from ldm_ae.distributed import world

# "Temporary failure, try again later" in sysexits.h: the run can go on with --resume.
STOPPED_EXIT_CODE = 75


class TrainingStopped(Exception):
    """A signal ended the run after a whole step, and everything is saved."""


class StopRequest:
    """Listens for SIGTERM and SIGINT while its block runs, then restores what listened before.

    Signals reach one process, or each at its own time. `agreed` makes all ranks stop at one step.
    A second SIGINT interrupts a single process at once. Only a main thread can listen.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Callable[..., Any] | int | None] = {}
        # On a group of its own in main memory: the flag need not wait for the GPU.
        self._group: Any = dist.new_group(backend="gloo") if world()[1] > 1 else None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A launcher passes Ctrl-C on to ranks that the terminal has already told.
        if self.signal == signal.SIGINT == number and self._group is None:
            raise KeyboardInterrupt
        self.signal = number

    def agreed(self) -> bool:
        """Whether any rank was asked to stop; called by every rank at the same step."""
        if self._group is not None:
            flag = torch.tensor(self.signal)
            dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
            agreed = int(flag)
            if agreed:  # else a signal that came while this rank waited counts at the next call
                self.signal = agreed
            return agreed != 0
        return self.signal != 0

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name
