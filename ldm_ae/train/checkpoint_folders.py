"""The folders that hold checkpoints: found, put in place, rotated, and cleared after a kill.

A folder named step-... is always whole. Names that begin with a dot belong to a write, a
replacement or a removal under way, which a kill may cut short; `recover` clears them.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from ldm_ae.digests import verify
from ldm_ae.errors import UserError
from ldm_ae.export.export import REPLACED as REPLACED_EXPORT
from ldm_ae.files import clear_stale, is_disk_full, sync_folder
from ldm_ae.json_file import read_json
from ldm_ae.metrics.table import LPIPS, METRICS

WRITING, REPLACED, REMOVING = ".writing-", ".replaced-", ".removing-"
DAMAGED = "damaged-"
SCORES = "scores.json"
# Earlier runs measured LPIPS with the network that they trained with alone, under this name.
EARLIER_LPIPS = "lpips"


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((run_dir / "checkpoints").glob("step-" + "[0-9]" * 8))


def find_checkpoint(
    run_dir: Path, which: str, best_metric: str | None = None, key: str = "resume"
) -> Path:
    """The checkpoint that `which` names: `latest`, `best`, a folder's name, or a path.

    key: the option that is named in errors. Raises UserError if there is none, or if `best` is
    asked for without a metric.
    """
    existing = checkpoints_of(run_dir)
    names = ", ".join(path.name for path in existing) or "none"
    if which == "latest":
        if not existing:
            raise UserError(
                f"{key}=latest: no checkpoint under {run_dir / 'checkpoints'};"
                " start without --resume, or set train.run_dir to the run's folder"
            )
        return existing[-1]
    if which == "best":
        if best_metric is None:
            raise UserError(f"{key}=best: the run has no train.best_metric; {run_dir} has: {names}")
        best = best_checkpoint(run_dir, best_metric)
        if best is None:
            raise UserError(f"{key}=best: no checkpoint has a {best_metric}; there are: {names}")
        return best
    for candidate in (run_dir / "checkpoints" / which, Path(which)):
        if (candidate / "state.json").is_file():
            return candidate
    raise UserError(f"{key}={which}: no such checkpoint; {run_dir} has: {names}")


def read_score(checkpoint: Path, metric: str) -> float | None:
    """A validation score of a checkpoint's own step; None if it was not measured there. Raises
    UserError for a broken file of scores."""
    path = checkpoint / SCORES
    if not path.is_file():
        return None
    verify(checkpoint, [SCORES])
    scores = read_json(path)
    score = scores.get(metric, scores.get(EARLIER_LPIPS) if metric in LPIPS else None)
    if score is not None and not isinstance(score, (int, float)):
        raise UserError(f"{path} has no number for {metric}: restore or remove the file")
    return score


def best_checkpoint(run_dir: Path, metric: str) -> Path | None:
    """The checkpoint with the best score, the earliest of equals; None if none has one.

    Since rotation spares it, it is the best of the whole run.
    """
    sign = -1 if METRICS[metric].higher_is_better else 1
    judged = [(path, read_score(path, metric)) for path in checkpoints_of(run_dir)]
    ranked = [(sign * score, path) for path, score in judged if score is not None]
    return min(ranked)[1] if ranked else None


def is_better(score: float, than: float, metric: str) -> bool:
    return score > than if METRICS[metric].higher_is_better else score < than


@contextlib.contextmanager
def placing(target: Path) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `target` once the block succeeds.

    The files must have been written through to the disk. After an error `target` is as it was and
    nothing is left over.
    """
    folder = target.parent
    aside, replaced = (folder / f"{mark}{target.name}" for mark in (WRITING, REPLACED))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        sync_folder(aside)
        if target.exists():
            target.rename(replaced)  # `recover` takes it back should the next line not be reached
        aside.rename(target)
        sync_folder(folder)
    finally:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def set_aside(checkpoint: Path) -> Path:
    """Give a damaged checkpoint a name under which no run goes on from it; returns that."""
    target = checkpoint.with_name(DAMAGED + checkpoint.name)
    shutil.rmtree(target, ignore_errors=True)
    return checkpoint.rename(target)


def rotate(run_dir: Path, keep: int, best_metric: str | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and the best one by a metric."""
    best = best_checkpoint(run_dir, best_metric) if best_metric else None
    for old in checkpoints_of(run_dir)[:-keep]:
        if old != best:
            leaving = old.with_name(REMOVING + old.name)
            old.rename(leaving)  # else a kill would leave half a folder under a good name
            shutil.rmtree(leaving)


def recover(run_dir: Path) -> None:
    """Clear what a killed run left half-done, and take back what it was replacing. The run's
    lock must be held."""
    for path in run_dir.glob(f".export.*{REPLACED_EXPORT}"):
        if not (run_dir / "export").exists():
            path.rename(run_dir / "export")
    for folder in (run_dir, run_dir / "previews"):
        clear_stale(folder, sole=True)
    folder = run_dir / "checkpoints"
    for path in sorted(folder.glob(REPLACED + "*")):
        target = folder / path.name.removeprefix(REPLACED)
        if not target.exists():
            path.rename(target)
    for mark in (WRITING, REPLACED, REMOVING):
        for path in folder.glob(mark + "*"):
            shutil.rmtree(path)


@contextlib.contextmanager
def naming_full_disk(run_dir: Path) -> Iterator[None]:
    """Turn whatever error a full disk caused into an OSError that says where, and what is left.

    A tracker's thread that meets it is silent: the next write of the main thread raises it again.
    """
    told = threading.excepthook

    def tell(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is None or not is_disk_full(arguments.exc_value):
            told(arguments)

    threading.excepthook = tell
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        good = checkpoints_of(run_dir)
        kept = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"
        raise OSError(
            errno.ENOSPC,
            f"no space is left on the disk of {run_dir.absolute()}; {kept}. Make room, then go on"
            f" with --resume auto ({error})",
        ) from error
    finally:
        threading.excepthook = told
