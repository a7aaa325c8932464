"""Work in a process of its own, forked from one that has imported all and done nothing: a restart
costs no imports."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any


def started(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def finished(process: ForkServerProcess) -> None:
    """Wait for a process. Raises RuntimeError unless it ended well."""
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a run ended with the exit code {process.exitcode}")


def killed_after(process: ForkServerProcess, seconds: float) -> bool:
    """SIGKILL to a process after so long; False if it ended well before."""
    process.join(seconds)
    if process.exitcode is not None:
        finished(process)
        return False
    process.kill()
    process.join()
    return True
