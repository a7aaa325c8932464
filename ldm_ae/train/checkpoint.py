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

from ldm_ae.files import write_through
from ldm_ae.models.base import Autoencoder
from ldm_ae.train.checkpoint_folders import SCORES, placing, rotate
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.players import Players


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
        """Raises ValueError if the data or the seed are not what this position counts in."""
        if self.num_images and (self.num_images, self.seed) != (num_images, seed):
            raise ValueError(
                f"the run saw {self.num_images} images in the order of train.seed={self.seed}; now"
                f" there are {num_images} and train.seed={seed}: the run cannot go on where it"
                " was. Restore the data and the seed, or start anew in another train.run_dir"
            )


def checkpoint_path(run_dir: Path, progress: Progress) -> Path:
    return run_dir / "checkpoints" / f"step-{progress.step:08d}"


def read_progress(checkpoint: Path) -> Progress:
    """Raises ValueError if state.json is damaged or missing."""
    try:
        return Progress(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"checkpoint {checkpoint} is damaged: go on from another one. {error}"
        ) from error


def save_checkpoint(
    run_dir: Path,
    players: Players,
    average: WeightAverage[Autoencoder],
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
        model, averaged = players.trainee.autoencoder.state_dict(), average.model.state_dict()
        write_through(aside / "model.safetensors", save(model))
        write_through(aside / "ema.safetensors", save(averaged))
        # By way of memory: torch's own writer aborts the process when the disk is full.
        packed = io.BytesIO()
        torch.save(_training_state(players), packed)
        write_through(aside / "training.pt", packed.getvalue())
        if scores is not None:
            write_through(aside / SCORES, json.dumps(dict(scores)).encode())
        write_through(aside / "state.json", json.dumps(asdict(progress)).encode())
    rotate(run_dir, keep, best_metric)
    return target


def load_checkpoint(
    checkpoint: Path, players: Players, average: WeightAverage[Autoencoder]
) -> Progress:
    """Restore what save_checkpoint wrote; ValueError if it does not fit the config's networks."""
    try:
        autoencoder = players.trainee.autoencoder
        autoencoder.load_state_dict(load_file(checkpoint / "model.safetensors"))
        average.model.load_state_dict(load_file(checkpoint / "ema.safetensors"))
        state = torch.load(checkpoint / "training.pt", map_location="cpu", weights_only=True)
        _restore_training_state(players, state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(
            f"checkpoint {checkpoint} does not fit this config (was the model or the loss"
            f" changed?): {error}"
        ) from error
    except (OSError, EOFError, SafetensorError, UnpicklingError) as error:
        raise ValueError(
            f"checkpoint {checkpoint} is damaged: go on from another one. {error}"
        ) from error
    return read_progress(checkpoint)


def _training_state(players: Players) -> dict[str, Any]:
    state: dict[str, Any] = {
        "optimizer": players.optimizer.state_dict(),
        "log_variance": players.trainee.log_variance.detach(),
        "skipped": [players.guard.num_skipped, players.guard.num_in_a_row],
    }
    if players.accelerator.scaler is not None:
        state["scaler"] = players.accelerator.scaler.state_dict()
    if players.discriminator is not None and players.discriminator_optimizer is not None:
        plain = players.accelerator.unwrap_model(players.discriminator)
        state["discriminator"] = plain.state_dict()
        state["discriminator_optimizer"] = players.discriminator_optimizer.state_dict()
    return state


def _restore_training_state(players: Players, state: dict[str, Any]) -> None:
    _restore_optimizer(players.optimizer, state["optimizer"])
    players.trainee.log_variance.data.copy_(state["log_variance"])
    players.guard.num_skipped, players.guard.num_in_a_row = state["skipped"]
    if players.accelerator.scaler is not None:
        players.accelerator.scaler.load_state_dict(state["scaler"])
    if players.discriminator is not None and players.discriminator_optimizer is not None:
        plain = players.accelerator.unwrap_model(players.discriminator)
        plain.load_state_dict(state["discriminator"])
        _restore_optimizer(players.discriminator_optimizer, state["discriminator_optimizer"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments, but keep the settings (betas, weight decay) of the config at hand."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
