"""Everything a run needs before its first step."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    ProjectConfiguration,
)

from ldm_ae.losses.discriminator import PatchDiscriminator
from ldm_ae.losses.objective import Objective
from ldm_ae.losses.perceptual import PerceptualLoss, build_perceptual
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.train.checkpoint import checkpoints_of, find_checkpoint
from ldm_ae.train.config import Experiment, TrainConfig
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.muon import Muon, muon_groups
from ldm_ae.train.schedules import learning_rate_factor
from ldm_ae.train.steps import Players, Trainee

MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
DISCRIMINATOR_BETAS = (0.5, 0.9)


def starting_point(run_dir: Path, resume: str | None) -> Path | None:
    """The checkpoint to go on from, or None for a new run.

    Raises ValueError if a new run would mix with an old one's checkpoints.
    """
    existing = checkpoints_of(run_dir)
    if resume is not None:
        chosen = find_checkpoint(run_dir, resume)
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


def make_accelerator(config: TrainConfig, run_dir: Path) -> Accelerator:
    """Accelerate, told explicitly what the config says; its launcher decides the ranks."""
    wants_cpu = config.device == "cpu" or not torch.cuda.is_available()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "train.device=cuda, but torch finds no CUDA device: use train.device=auto or cpu,"
            " or install a driver and a CUDA build of torch"
        )
    if config.precision == "fp16" and wants_cpu:
        raise ValueError(
            "train.precision=fp16 needs a GPU: on a CPU use train.precision=bf16 or fp32"
        )
    accelerator = Accelerator(
        mixed_precision=MIXED_PRECISION[config.precision],
        cpu=wants_cpu,
        log_with="tensorboard",
        project_config=ProjectConfiguration(logging_dir=str(run_dir)),
        # Accumulation is the step's own; Accelerate would divide the loss once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # Codebooks are equal on every rank by construction; batch norms keep their own.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked > 1 and accelerator.num_processes == 1:
        raise ValueError(
            f"WORLD_SIZE={asked}, but Accelerate runs a single process: every copy would train"
            " alone. On CPUs start with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node"
            f" {asked} scripts/..."
        )
    return accelerator


def build_perceptual_metric(experiment: Experiment, device: torch.device) -> PerceptualLoss | None:
    """The perceptual network of the config, for training and validation alike.

    Raises ValueError if it cannot be had, or cannot see images as small as the crops.
    """
    loss, size = experiment.loss, experiment.data.size
    if loss.perceptual.net == "none":
        if loss.perceptual_weight > 0:
            raise ValueError(
                f"loss.perceptual_weight={loss.perceptual_weight} with loss.perceptual.net=none:"
                " name a network, or set the weight to 0"
            )
        return None
    perceptual = build_perceptual(loss.perceptual).to(device)
    smallest = perceptual.network.min_size
    if size < smallest:
        raise ValueError(
            f"data.size={size} is too small for {perceptual.name}: use {smallest} or more"
        )
    return perceptual


def build_players(
    experiment: Experiment, accelerator: Accelerator, perceptual: PerceptualLoss | None
) -> tuple[Players, WeightAverage[Autoencoder]]:
    """Networks with random weights, the same on every rank, and their optimizers, prepared."""
    config, loss = experiment.train, experiment.loss
    trainee = Trainee(build_model(experiment.model), loss).to(accelerator.device)
    average = WeightAverage(trainee.autoencoder, config.ema_decay)
    model, prepared = accelerator.prepare(trainee, _optimizer(trainee, config))
    used = perceptual if loss.perceptual_weight > 0 else None
    objective = Objective(loss, used, trainee.autoencoder.regularized_per_value)
    players = Players(accelerator, objective, trainee, model, prepared)
    if loss.adversarial.weight > 0:
        _add_discriminator(players, experiment)
    return players, average


def _optimizer(trainee: Trainee, config: TrainConfig) -> torch.optim.Optimizer:
    named = [(name, value) for name, value in trainee.named_parameters() if value.requires_grad]
    muon = config.optimizer == "muon"
    kind: type[torch.optim.AdamW] = Muon if muon else torch.optim.AdamW
    groups = muon_groups(named, config.muon_lr) if muon else [{"params": [p for _, p in named]}]
    return kind(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def _add_discriminator(players: Players, experiment: Experiment) -> None:
    config, train = experiment.loss.adversarial, experiment.train
    discriminator = PatchDiscriminator(
        experiment.data.channels, config.base_channels, config.num_layers, config.norm
    ).to(players.accelerator.device)
    optimizer = torch.optim.AdamW(
        discriminator.parameters(), lr=train.lr, betas=DISCRIMINATOR_BETAS, weight_decay=0.0
    )
    players.discriminator, players.discriminator_optimizer = players.accelerator.prepare(
        discriminator, optimizer
    )


def set_learning_rate(players: Players, config: TrainConfig, step: int) -> float:
    """Set every optimizer's learning rate for the update after `step` updates."""
    factor = learning_rate_factor(
        step, config.steps, config.warmup_steps, config.lr_schedule, config.final_lr_factor
    )
    for optimizer in (players.optimizer, players.discriminator_optimizer):
        if optimizer is not None:
            for group in optimizer.param_groups:
                peak = config.muon_lr if group.get("orthogonal") else config.lr
                group["lr"] = peak * factor
    return config.lr * factor
