"""Work shared among processes, each of which asks for its next piece."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from ldm_ae.errors import UserError

# (rank, pieces, told) -> None; it must be picklable.
Work = Callable[[int, Iterator[Any], Callable[[Any], None]], None]


def run_processes(
    work: Work, pieces: Sequence[Any], number: int, told: Callable[[Any], None]
) -> None:
    """Start `number` processes; each gets pieces one by one until there are none. told: called
    here with what they tell.

    Raises what a process raised, and UserError for one that was killed; the others are ended then,
    and so they are if this process is.
    """
    context = multiprocessing.get_context("spawn")
    waiting = iter(pieces)
    processes: dict[Connection, Any] = {}
    try:
        for rank in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_live, args=(work, rank, theirs), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        busy = set(processes)
        while busy:
            for ready in wait(list(busy)):
                ours = cast(Connection, ready)
                if not _heed(ours, processes[ours], waiting, told):
                    busy.discard(ours)
    finally:
        for ours, process in processes.items():
            ours.close()
            process.terminate()
            process.join()


def _heed(
    ours: Connection, process: Any, waiting: Iterator[Any], told: Callable[[Any], None]
) -> bool:
    """Take one message; False after the last."""
    with _talking_to(process):
        kind, content = ours.recv()
    if kind == "next":
        piece = next(waiting, None)
        with _talking_to(process):
            ours.send(piece)
    elif kind == "told":
        told(content)
    elif kind == "error":
        raise content
    return bool(kind != "end")


@contextlib.contextmanager
def _talking_to(process: Any) -> Iterator[None]:
    """Raises UserError where it was ended meanwhile."""
    try:
        yield
    except (EOFError, OSError) as error:
        process.join()
        raise UserError(
            f"a process was ended (exit code {process.exitcode}), for lack of memory perhaps: use"
            " fewer processes; the same command goes on where it was"
        ) from error


def _live(work: Work, rank: int, theirs: Connection) -> None:
    """In a process of its own. The one that started it alone heeds Ctrl-C, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sending = threading.Lock()

    def send(kind: str, content: Any = None) -> None:
        try:
            with sending:
                theirs.send((kind, content))
        except OSError:  # nobody listens any more
            os._exit(1)

    def pieces() -> Iterator[Any]:
        while True:
            send("next")
            try:
                piece = theirs.recv()
            except (EOFError, OSError):
                os._exit(1)
            if piece is None:
                return
            yield piece

    try:
        work(rank, pieces(), lambda content: send("told", content))
        send("end")
    except (UserError, FloatingPointError, MemoryError, OSError) as error:
        send("error", error)
    except BaseException as error:
        import traceback

        send("error", RuntimeError(f"{error!r}\n{traceback.format_exc()}"))
