"""One run, one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ldm_ae.distributed import gather_from_ranks
from ldm_ae.errors import UserError
from ldm_ae.folder_lock import locked


@contextlib.contextmanager
def sole_run(run_dir: Path, is_main_process: bool) -> Iterator[None]:
    """No other run has the folder while the block runs; the main process holds the lock.

    Raises UserError on every rank, with the folder as it was, if another run has it.
    """
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
