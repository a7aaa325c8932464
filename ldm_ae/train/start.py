"""Where a run starts: anew, or from one of its checkpoints; the same on every rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ldm_ae.digests import DamagedError, verify
from ldm_ae.distributed import gather_from_ranks, world
from ldm_ae.errors import UserError
from ldm_ae.train.checkpoint import Progress, read_progress
from ldm_ae.train.checkpoint_folders import checkpoints_of, find_checkpoint, recover, set_aside


@dataclass(frozen=True)
class Start:
    """checkpoint: None for a new run. notes: lines for the log."""

    checkpoint: Path | None
    progress: Progress
    notes: list[str]


def begin(run_dir: Path, resume: str | None, best_metric: str | None = None) -> Start:
    """Where a run starts, found by all its processes together.

    Raises UserError on every rank as `make_ready`, and if they would start from different steps.
    """
    notes = make_ready(run_dir, resume, best_metric)
    checkpoint = starting_point(run_dir, resume, best_metric)
    progress = read_progress(checkpoint) if checkpoint else Progress()
    _require_one_start(progress.step, run_dir)
    return Start(checkpoint, progress, notes)


def starting_point(
    run_dir: Path, resume: str | None, best_metric: str | None = None
) -> Path | None:
    """The checkpoint to go on from, or None for a new run; `auto` goes on if it can.

    Raises UserError if a new run would mix with an old one's checkpoints.
    """
    existing = checkpoints_of(run_dir)
    if resume == "auto":
        resume = "latest" if existing else None
    if resume is not None:
        chosen = find_checkpoint(run_dir, resume, best_metric)
        newer = [path.name for path in existing if path.name > chosen.name]
        if newer:
            raise UserError(
                f"resume={resume}: {run_dir} has newer checkpoints ({', '.join(newer)}), which the"
                " run would mix with: move them away, or choose another train.run_dir"
            )
        return chosen
    if existing:
        raise UserError(
            f"train.run_dir={run_dir} holds checkpoints up to {existing[-1].name}: go on from them"
            " with --resume latest, or choose another train.run_dir"
        )
    return None


def make_ready(run_dir: Path, resume: str | None, best_metric: str | None = None) -> list[str]:
    """What the first process does, and all ranks wait for, before `starting_point` is asked: clear
    what a kill has left, and verify the checkpoint. Returns lines for the log.

    `auto` goes back to the newest checkpoint that is whole; damaged ones get other names. Raises
    UserError on every rank as `starting_point`, and if the checkpoint that is asked for is
    damaged, or for `auto` every one.
    """
    notes, refusal = list[str](), None
    if world()[0] == 0:
        recover(run_dir)
        try:
            notes = _verified(run_dir, resume, best_metric)
        except UserError as error:
            refusal = error
    for told in gather_from_ranks(refusal):
        if isinstance(told, UserError):
            raise told
    return notes


def _verified(run_dir: Path, resume: str | None, best_metric: str | None) -> list[str]:
    if resume != "auto":
        chosen = starting_point(run_dir, resume, best_metric)
        if chosen is not None:
            verify(chosen)
        return []
    damaged: list[tuple[Path, DamagedError]] = []
    for checkpoint in reversed(checkpoints_of(run_dir)):
        try:
            verify(checkpoint)
        except DamagedError as error:
            damaged.append((checkpoint, error))
            continue
        return [
            f"{reason}. That checkpoint is {set_aside(path).name} now; the run goes on from"
            f" {checkpoint.name}"
            for path, reason in damaged
        ]
    if damaged:
        raise damaged[0][1]
    return []


def _require_one_start(step: int, run_dir: Path) -> None:
    """Raise UserError, on every rank, unless all start from the same step: weights are not sent
    around after a resume."""
    steps = gather_from_ranks(step)
    if len(set(steps)) > 1:
        raise UserError(
            f"train.run_dir={run_dir}: the processes would start from the steps {steps}. It must be"
            " on a disk that all machines share"
        )
