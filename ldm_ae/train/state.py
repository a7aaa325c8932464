"""What training moves: two networks with their optimizers, the averaged weights, and counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_ae.losses.critic import Critic
from ldm_ae.losses.objective import LossConfig, Objective
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.models.teacher import Teacher
from ldm_ae.train.config import TrainConfig
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.non_finite import Guard

Network = TypeVar("Network", bound=nn.Module)


class Generator(nn.Module):
    """What one optimizer and the ranks share: the autoencoder and the likelihood's variance.
    teacher: what it learns from, if there is one; frozen, and in no checkpoint."""

    def __init__(
        self, autoencoder: Autoencoder, loss: LossConfig, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.autoencoder, self.teacher = autoencoder, teacher
        self.log_variance = nn.Parameter(
            torch.tensor(loss.log_variance_init), requires_grad=loss.learn_log_variance
        )

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        lesson = () if self.teacher is None else (self.teacher(images, keys),)
        output: Reconstruction = self.autoencoder(images, keys, *lesson)
        return output


@dataclass(frozen=True)
class Trained(Generic[Network]):
    """module: the plain network. wrapped: the same as Accelerate prepared it, which training calls
    wherever gradients must cross ranks. optimizer: moves its weights."""

    module: Network
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass
class TrainState:
    """perceptual: the config's network, for validation also where the objective has no use for it.
    discriminator: None where loss.adversarial.weight is 0. average: of the autoencoder."""

    config: TrainConfig
    accelerator: Accelerator
    perceptual: PerceptualLoss | None
    objective: Objective
    generator: Trained[Generator]
    discriminator: Trained[Critic] | None
    average: WeightAverage[Autoencoder]
    guard: Guard

    @property
    def autoencoder(self) -> Autoencoder:
        return self.generator.module.autoencoder

    def syncing(self, network: nn.Module, last: bool) -> contextlib.AbstractContextManager:
        """Gradients cross ranks with the last micro-batch only."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(network)
