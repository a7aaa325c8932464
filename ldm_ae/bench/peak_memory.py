"""How much memory a coder takes, in a process of its own."""

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ldm_ae.bench.coder import Coder, Pixels, Point
from ldm_ae.errors import UserError

STATUS = Path("/proc/self/status")
MEANING = (
    "highest resident memory of a fresh process while it encodes and decodes one image, less "
    "what it held before, or that of a program it starts, if larger; the coder (a model's weights "
    "too) is loaded before and counted apart"
)


def peak_memory(open_coder: Callable[[], Coder], pixels: Pixels, point: Point) -> dict[str, Any]:
    """{"coding_mib", "loading_mib", "meaning"}; None with a `reason` where it cannot be had.

    open_coder: picklable; opens the coder in the new process.
    """
    if not STATUS.exists():
        return _unknown("only Linux tells a process its peak (/proc/self/status)")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, open_coder, pixels, point))
    process.start()
    sender.close()
    try:
        answer: dict[str, Any] = receiver.recv()
    except EOFError:
        answer = _unknown("the process ended before it could tell")
    process.join()
    return answer


def _measure(
    sender: Connection, open_coder: Callable[[], Coder], pixels: Pixels, point: Point
) -> None:
    before = resident("VmRSS")
    coder = open_coder()
    loaded, peak_loading = resident("VmRSS"), resident("VmHWM")
    coder.decode(coder.encode(pixels, point), point)
    peak = resident("VmHWM")
    # A peak while loading may hide a lower one while coding: then the latter is not known.
    coding = peak - loaded if peak > peak_loading else None
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if started > (coding or 0):
        coding = started
    answer: dict[str, Any] = {"coding_mib": coding, "loading_mib": loaded - before}
    if coding is None:
        answer["reason"] = "loading took more than coding, whose peak it hides"
    sender.send(answer | {"meaning": MEANING})
    sender.close()


def resident(key: str) -> float:
    """VmRSS (now) or VmHWM (the highest so far) of this process in MiB."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) / 1024
    raise UserError(f"{STATUS} has no {key}")


def _unknown(reason: str) -> dict[str, Any]:
    return {"coding_mib": None, "loading_mib": None, "reason": reason, "meaning": MEANING}
