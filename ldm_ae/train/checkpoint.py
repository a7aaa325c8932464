"""Checkpoints: everything that a run needs to go on, written aside and renamed.

RUN/checkpoints/step-00001000/
    model.safetensors   the autoencoder and its training buffers
    ema.safetensors     the averaged weights, same names
    training.pt         optimizers, loss scaler, discriminator, log-variance (tensors only)
    state.json          step, images seen
    scores.json         validation scores, if this step was validated
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ldm_ae.errors import UserError
from ldm_ae.files import write_through
from ldm_ae.train.checkpoint_folders import SCORES, placing, rotate
from ldm_ae.train.state import TrainState


@dataclass(frozen=True)
class Progress:
    """step: updates done. images_seen: over all ranks; the position in the data.

    num_images, seed: what the order of the data follows from; 0 images: not known yet.
    """

    step: int = 0
    images_seen: int = 0
    num_images: int = 0
    seed: int = 0

    def require_order(self, num_images: int, seed: int) -> None:
        """Raises UserError if the data or the seed are not what this position counts in."""
        if self.num_images and (self.num_images, self.seed) != (num_images, seed):
            raise UserError(
                f"the run saw {self.num_images} images in the order of train.seed={self.seed}; now"
                f" there are {num_images} and train.seed={seed}: the run cannot go on where it"
                " was. Restore the data and the seed, or start anew in another train.run_dir"
            )


def checkpoint_path(run_dir: Path, progress: Progress) -> Path:
    return run_dir / "checkpoints" / f"step-{progress.step:08d}"


def read_progress(checkpoint: Path) -> Progress:
    """Raises UserError if state.json is damaged or missing."""
    try:
        return Progress(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {checkpoint} is damaged: go on from another one. {error}"
        ) from error


def save_checkpoint(
    run_dir: Path,
    state: TrainState,
    progress: Progress,
    keep: int,
    *,
    scores: Mapping[str, float] | None = None,
    best_metric: str | None = None,
) -> Path:
    """Write a checkpoint aside, rename it, then drop all but the newest `keep` and the best.

    scores: of the validation at this very step. Raises OSError if the disk is full or fails; what
    was there before is then still there, and nothing else.
    """
    target = checkpoint_path(run_dir, progress)
    with placing(target) as aside:
        write_through(aside / "model.safetensors", save(state.autoencoder.state_dict()))
        write_through(aside / "ema.safetensors", save(state.average.model.state_dict()))
        # By way of memory: torch's own writer aborts the process when the disk is full.
        packed = io.BytesIO()
        torch.save(_training_state(state), packed)
        write_through(aside / "training.pt", packed.getvalue())
        if scores is not None:
            write_through(aside / SCORES, json.dumps(dict(scores)).encode())
        write_through(aside / "state.json", json.dumps(asdict(progress)).encode())
    rotate(run_dir, keep, best_metric)
    return target


def load_checkpoint(checkpoint: Path, state: TrainState) -> Progress:
    """Restore what save_checkpoint wrote; UserError if it does not fit the config's networks."""
    try:
        state.autoencoder.load_state_dict(load_file(checkpoint / "model.safetensors"))
        state.average.model.load_state_dict(load_file(checkpoint / "ema.safetensors"))
        saved = torch.load(checkpoint / "training.pt", map_location="cpu", weights_only=True)
        _restore_training_state(state, saved)
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(
            f"checkpoint {checkpoint} does not fit this config (was the model or the loss"
            f" changed?): {error}"
        ) from error
    except (OSError, EOFError, SafetensorError, UnpicklingError) as error:
        raise UserError(
            f"checkpoint {checkpoint} is damaged: go on from another one. {error}"
        ) from error
    return read_progress(checkpoint)


def _training_state(state: TrainState) -> dict[str, Any]:
    """Under the names that checkpoints have had from the first."""
    saved: dict[str, Any] = {
        "optimizer": state.generator.optimizer.state_dict(),
        "log_variance": state.generator.module.log_variance.detach(),
        "skipped": [state.guard.num_skipped, state.guard.num_in_a_row],
    }
    if state.accelerator.scaler is not None:
        saved["scaler"] = state.accelerator.scaler.state_dict()
    if state.discriminator is not None:
        saved["discriminator"] = state.discriminator.module.state_dict()
        saved["discriminator_optimizer"] = state.discriminator.optimizer.state_dict()
    return saved


def _restore_training_state(state: TrainState, saved: dict[str, Any]) -> None:
    _restore_optimizer(state.generator.optimizer, saved["optimizer"])
    state.generator.module.log_variance.data.copy_(saved["log_variance"])
    state.guard.num_skipped, state.guard.num_in_a_row = saved["skipped"]
    if state.accelerator.scaler is not None:
        state.accelerator.scaler.load_state_dict(saved["scaler"])
    if state.discriminator is not None:
        state.discriminator.module.load_state_dict(saved["discriminator"])
        _restore_optimizer(state.discriminator.optimizer, saved["discriminator_optimizer"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments, but keep the settings (betas, weight decay) of the config at hand."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
