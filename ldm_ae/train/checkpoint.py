"""Checkpoints: everything that a run needs to go on, written aside and renamed.

RUN/checkpoints/step-00001000/
    model.safetensors   the autoencoder and its training buffers
    ema.safetensors     the averaged weights, same names
    training.pt         optimizers, loss scaler, discriminator, log-variance (tensors only)
    state.json          step, images seen
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ldm_ae.models.base import Autoencoder
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.steps import Players


@dataclass(frozen=True)
class Progress:
    """step: updates done. images_seen: over all ranks; the position in the data."""

    step: int = 0
    images_seen: int = 0


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((run_dir / "checkpoints").glob("step-" + "[0-9]" * 8))


def find_checkpoint(run_dir: Path, which: str) -> Path:
    """The checkpoint that `which` names: `latest`, a folder's name, or a path.

    Raises ValueError if there is none.
    """
    existing = checkpoints_of(run_dir)
    if which == "latest":
        if not existing:
            raise ValueError(
                f"resume=latest: no checkpoint under {run_dir / 'checkpoints'};"
                " start without --resume, or set train.run_dir to the run's folder"
            )
        return existing[-1]
    for candidate in (run_dir / "checkpoints" / which, Path(which)):
        if (candidate / "state.json").is_file():
            return candidate
    names = ", ".join(path.name for path in existing) or "none"
    raise ValueError(f"resume={which}: no such checkpoint; {run_dir} has: {names}")


def read_progress(checkpoint: Path) -> Progress:
    return Progress(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))


def save_checkpoint(
    run_dir: Path,
    players: Players,
    average: WeightAverage[Autoencoder],
    progress: Progress,
    keep: int,
) -> Path:
    """Write a checkpoint aside, rename it, then drop all but the newest `keep`."""
    folder = run_dir / "checkpoints"
    target = folder / f"step-{progress.step:08d}"
    aside = folder / f".writing-{target.name}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        save_file(players.trainee.autoencoder.state_dict(), aside / "model.safetensors")
        save_file(average.model.state_dict(), aside / "ema.safetensors")
        torch.save(_training_state(players), aside / "training.pt")
        (aside / "state.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in checkpoints_of(run_dir)[:-keep]:
        shutil.rmtree(old)
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
    except (RuntimeError, KeyError) as error:
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
