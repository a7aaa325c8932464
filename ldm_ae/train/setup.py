"""Everything a run needs before its first step."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ldm_ae.data.images import to_float
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.distributed import gather_from_ranks
from ldm_ae.losses.critic import build_critic
from ldm_ae.losses.objective import Objective
from ldm_ae.losses.perceptual import PerceptualLoss, build_perceptual
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.mobilenet import FrechetNetwork
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.models.base import Autoencoder
from ldm_ae.noise import mix
from ldm_ae.train.checkpoint_folders import checkpoints_of, find_checkpoint
from ldm_ae.train.config import Experiment, TrainConfig
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.frechet import FrechetJudge
from ldm_ae.train.initial import initial_model
from ldm_ae.train.muon import Muon, muon_groups
from ldm_ae.train.non_finite import Guard
from ldm_ae.train.players import Players, Trainee
from ldm_ae.train.schedules import learning_rate_factor

DISCRIMINATOR_BETAS = (0.5, 0.9)


def starting_point(
    run_dir: Path, resume: str | None, best_metric: str | None = None
) -> Path | None:
    """The checkpoint to go on from, or None for a new run; `auto` goes on if it can.

    Raises ValueError if a new run would mix with an old one's checkpoints.
    """
    existing = checkpoints_of(run_dir)
    if resume == "auto":
        resume = "latest" if existing else None
    if resume is not None:
        chosen = find_checkpoint(run_dir, resume, best_metric)
        newer = [path.name for path in existing if path.name > chosen.name]
        if newer:
            raise ValueError(
                f"resume={resume}: {run_dir} has newer checkpoints ({', '.join(newer)}), which the"
                " run would mix with: move them away, or choose another train.run_dir"
            )
        return chosen
    if existing:
        raise ValueError(
            f"train.run_dir={run_dir} holds checkpoints up to {existing[-1].name}: go on from them"
            " with --resume latest, or choose another train.run_dir"
        )
    return None


def require_one_start(step: int, run_dir: Path) -> None:
    """Raise ValueError, on every rank, unless all start from the same step: weights are not sent
    around after a resume."""
    steps = gather_from_ranks(step)
    if len(set(steps)) > 1:
        raise ValueError(
            f"train.run_dir={run_dir}: the processes would start from the steps {steps}. It must be"
            " on a disk that all machines share"
        )


def build_perceptual_metric(experiment: Experiment, device: torch.device) -> PerceptualLoss | None:
    """The perceptual network of the config, for training and validation alike.

    Raises ValueError if it cannot be had, or cannot see images as small as the crops.
    """
    loss = experiment.loss
    if loss.perceptual.net == "none":
        for name in ("perceptual_weight", "gram_weight"):
            if getattr(loss, name) > 0:
                raise ValueError(
                    f"loss.{name}={getattr(loss, name)} with loss.perceptual.net=none: name a"
                    " network, or set the weight to 0"
                )
        return None
    perceptual = build_perceptual(loss.perceptual).to(device)
    experiment.require_images_of(perceptual.network.min_size, perceptual.name)
    return perceptual


def open_validation_panel(
    experiment: Experiment, device: torch.device, perceptual: PerceptualLoss | None
) -> Panel:
    """What validation measures; the network of the loss, if there is one, is used again.

    Raises ValueError if the best checkpoint is chosen by what cannot be had.
    """
    known = {} if perceptual is None else {experiment.loss.perceptual.net: perceptual}
    panel = open_panel(experiment.validation_metrics, Networks(device, known=known))
    metric = experiment.best_metric
    if metric in panel.reasons:
        raise ValueError(f"train.best_metric={metric} cannot be had: {panel.reasons[metric]}")
    return panel


def build_players(
    experiment: Experiment, accelerator: Accelerator, perceptual: PerceptualLoss | None
) -> tuple[Players, WeightAverage[Autoencoder]]:
    """Networks, the same on every rank, and their optimizers, prepared."""
    config, loss = experiment.train, experiment.loss
    trainee = Trainee(initial_model(experiment), loss).to(accelerator.device)
    average = WeightAverage(trainee.autoencoder, config.ema_decay)
    model, prepared = accelerator.prepare(trainee, _optimizer(trainee, config))
    used = perceptual if loss.needs_perceptual else None
    objective = Objective(loss, used, trainee.autoencoder.regularized_per_value)
    guard = Guard(config.non_finite, config.max_skipped)
    players = Players(accelerator, objective, trainee, model, prepared, guard=guard)
    if loss.adversarial.weight > 0:
        _add_discriminator(players, experiment, perceptual)
    return players, average


def _optimizer(trainee: Trainee, config: TrainConfig) -> torch.optim.Optimizer:
    named = [(name, value) for name, value in trainee.named_parameters() if value.requires_grad]
    muon = config.optimizer == "muon"
    kind: type[torch.optim.AdamW] = Muon if muon else torch.optim.AdamW
    groups = muon_groups(named, config.muon_lr) if muon else [{"params": [p for _, p in named]}]
    return kind(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def _add_discriminator(
    players: Players, experiment: Experiment, perceptual: PerceptualLoss | None
) -> None:
    config = experiment.loss.adversarial
    critic = build_critic(config, experiment.data.channels, perceptual)
    players.critic = critic.to(players.accelerator.device)
    optimizer = torch.optim.AdamW(
        critic.parameters(),
        lr=config.lr or experiment.train.lr,
        betas=DISCRIMINATOR_BETAS,
        weight_decay=0.0,
    )
    players.discriminator, players.discriminator_optimizer = players.accelerator.prepare(
        critic, optimizer
    )


def set_learning_rates(players: Players, config: TrainConfig, step: int) -> dict[str, float]:
    """Set every optimizer's learning rate for the update after `step` updates; returns them by
    the names they are logged under."""
    factor = learning_rate_factor(
        step, config.steps, config.warmup_steps, config.lr_schedule, config.final_lr_factor
    )
    rates = {"learning_rate": config.lr * factor}
    for group in players.optimizer.param_groups:
        muon = group.get("orthogonal", False)
        group["lr"] = (config.muon_lr if muon else config.lr) * factor
        if muon:
            rates["learning_rate_muon"] = group["lr"]
    if players.critic is not None and players.discriminator_optimizer is not None:
        adversarial = players.objective.config.adversarial
        own = adversarial.lr_factor(players.critic.num_updates)
        for group in players.discriminator_optimizer.param_groups:
            group["lr"] = (adversarial.lr or config.lr) * factor * own
            rates["learning_rate_discriminator"] = group["lr"]
    return rates


def seed_step(seed: int, step: int, rank: int) -> None:
    """Start the process' own random numbers anew, as a function of the step: whatever draws from
    them goes on after a resume as if nothing had happened."""
    number = mix(seed, step, rank)
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def open_frechet(
    experiment: Experiment,
    images: list[Tensor],
    num_images: int,
    device: torch.device,
    loader: TrainLoader,
) -> FrechetJudge | None:
    """The Fréchet distance of the config with its floor, or None. Called by every rank.

    images: this rank's share of the `num_images` for validation, (C, H, W) uint8. Raises
    ValueError if there are fewer than two, or the network's file does not fit.
    """
    weights = experiment.train.frechet.weights
    if weights is None:
        return None
    if num_images < 2:
        raise ValueError(
            f"train.frechet.weights={weights} needs 2 or more validation images: set"
            " data.validation_count or data.validation_path"
        )
    judge = FrechetJudge(
        FrechetNetwork(weights).to(device), (to_float(image[None]).to(device) for image in images)
    )
    judge.measure_floor((batch.images for batch in loader.batches()), loader.num_images)
    return judge
