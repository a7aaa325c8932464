"""Workers of a loader: they outlive a SIGTERM which was meant for training, and their failures are
told in one line.

torchrun and Slurm send it to every process of a job, but training has a step to finish, and the
end of a worker would end it at once. It ends its workers itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ldm_ae.errors import UserError


@contextmanager
def blocked_for_workers() -> Iterator[None]:
    """Around the start of workers: they inherit what the starting thread blocks. To block it in
    the worker is too late: where torch.set_num_threads was called, torch has started threads
    there by then, and a signal to a process goes to whichever thread lets it through."""
    if sys.platform != "linux":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def naming_worker_failures() -> Iterator[None]:
    """In the process that reads: a worker's UserError without the traceback that torch puts around
    its message, and one for a worker that was killed, of which torch tells at any moment."""
    try:
        yield
    except UserError as error:
        kind = type(error)
        if not str(error).startswith(f"Caught {kind.__name__} in "):
            raise
        raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip()) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or str(error).startswith("Caught "):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"a process that reads images died ({reason}), for lack of memory perhaps: use fewer"
            " data.num_workers, or 0, and go on with --resume auto"
        ) from error


def heed_training_alone(worker: int) -> None:
    """In a worker: SIGTERM counts only from the process that reads its batches."""
    if sys.platform == "linux":  # elsewhere a process cannot learn who sent a signal
        parent = multiprocessing.parent_process()
        assert parent is not None
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # if it was not inherited
        threading.Thread(target=_exit_when_told_by, args=(parent.pid,), daemon=True).start()


def _exit_when_told_by(process: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != process:
        pass
    os._exit(0)
