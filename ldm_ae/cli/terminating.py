"""SIGTERM as an exception: what was begun is cleared away as after any error."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it is no Exception: nothing may take it for an error of
    one file and go on."""


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Raises Terminated in the block at the first SIGTERM; training listens by itself meanwhile.
    Only a main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clearing short
    raise Terminated
