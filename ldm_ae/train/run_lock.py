"""One run, one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ldm_ae.data.worker_signals import naming_worker_failures
from ldm_ae.distributed import gather_from_ranks
from ldm_ae.errors import UserError
from ldm_ae.folder_lock import locked
from ldm_ae.train.accelerator import join_ranks
from ldm_ae.train.checkpoint_folders import naming_full_disk
from ldm_ae.train.run_config import RunConfig


@contextlib.contextmanager
def sole_run(config: RunConfig) -> Iterator[None]:
    """While the block runs the processes of the run are joined, no other run has its folder, and
    what its disk or its workers fail at is named.

    Raises UserError as `join_ranks`, for a file instead of a folder, and on every rank, with the
    folder as it was, if another run has it.
    """
    run_dir = Path(config.run_dir)
    ranks = join_ranks(config)
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"train.run_dir={run_dir} is a file: name a folder")
    with (
        naming_full_disk(run_dir),
        naming_worker_failures(),
        _lock_held(run_dir, ranks.is_main_process),
    ):
        yield


@contextlib.contextmanager
def _lock_held(run_dir: Path, is_main_process: bool) -> Iterator[None]:
    """By the main process."""
    with contextlib.ExitStack() as stack:
        refusal = ""
        if is_main_process:
            try:
                stack.enter_context(locked(run_dir, "train.run_dir"))
            except (OSError, UserError) as error:
                refusal = str(error)
        for text in filter(None, gather_from_ranks(refusal)):
            raise UserError(text)
        yield
