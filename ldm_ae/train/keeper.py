"""When a run is saved, and which checkpoint is the best."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm_ae.errors import UserError
from ldm_ae.train.checkpoint import Progress, checkpoint_path, save_checkpoint
from ldm_ae.train.checkpoint_folders import best_checkpoint, is_better, read_score
from ldm_ae.train.state import RunState


class Keeper:
    """Saves from the main process while the other ranks wait, and knows the best score so far."""

    def __init__(self, run_dir: Path, state: RunState, best_metric: str | None) -> None:
        self.run_dir, self.state = run_dir, state
        self.metric = best_metric
        self.best: float | None = None
        found = best_checkpoint(run_dir, best_metric) if best_metric else None
        if best_metric and found:
            self.best = read_score(found, best_metric)

    def beats_the_best(self, scores: Mapping[str, Any] | None) -> bool:
        """Whether scores are better than all before them; they then are the ones to beat.

        Raises UserError if the chosen metric could not be measured.
        """
        metric = self.metric
        if scores is None or metric is None:
            return False
        score = scores[metric]
        if score is None:
            raise UserError(
                f"train.best_metric={metric} cannot be measured on these validation images:"
                " choose another one, or larger images"
            )
        if self.best is not None and not is_better(score, self.best, metric):
            return False
        self.best = score
        return True

    def save(self, progress: Progress, scores: Mapping[str, Any] | None) -> Path:
        """The checkpoint of this step, written unless it is there; scores are of this very step.
        Every rank calls it."""
        target = checkpoint_path(self.run_dir, progress)
        accelerator = self.state.accelerator
        if accelerator.is_main_process and not target.exists():
            numbers = {k: v for k, v in (scores or {}).items() if isinstance(v, (int, float))}
            save_checkpoint(
                self.run_dir,
                self.state,
                progress,
                self.state.config.keep_checkpoints,
                scores=numbers or None,
                best_metric=self.metric,
            )
        accelerator.wait_for_everyone()
        return target
