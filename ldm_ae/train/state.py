"""What training moves: two networks with their optimizers, the averaged weights, and counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

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
from ldm_ae.train.run_config import RunConfig

Network = TypeVar("Network", bound=nn.Module)


class Generator(nn.Module):
    """What one optimizer and the ranks share: the autoencoder and the likelihood's variance.
    teacher: what it learns from, if there is one; frozen, and in no checkpoint. Where the loss says
    so, reconstructions are compared with the teacher's of the same latents."""

    def __init__(
        self, autoencoder: Autoencoder, loss: LossConfig, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.autoencoder, self.teacher = autoencoder, teacher
        self.imitates_pictures = loss.target == "teacher"
        self.log_variance = nn.Parameter(
            torch.tensor(loss.log_variance_init), requires_grad=loss.learn_log_variance
        )

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        output: Reconstruction
        if self.teacher is None:
            output = self.autoencoder(images, keys)
            return output
        if self.autoencoder.imitates_latents:
            lesson = self.teacher(images, keys)
            output = self.autoencoder(images, keys, lesson)
            latents = self.teacher.unscaled(lesson.latents)
        else:
            output = self.autoencoder(images, keys)
            latents = output.latents.detach()
        if not self.imitates_pictures:
            return output
        return replace(output, target=self.teacher.picture(latents))


@dataclass(frozen=True)
class Trained(Generic[Network]):
    """module: the plain network. wrapped: the same as Accelerate prepared it, which training calls
    wherever gradients must cross ranks. optimizer: moves its weights."""

    module: Network
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer

    def syncing(self, accelerator: Accelerator, last: bool) -> contextlib.AbstractContextManager:
        """Gradients cross ranks with the last micro-batch only."""
        return contextlib.nullcontext() if last else accelerator.no_sync(self.wrapped)

    def saved(self, accelerator: Accelerator) -> dict[str, Any]:
        """The optimizer's state, and the loss scaler's where there is one."""
        saved: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if accelerator.scaler is not None:
            saved["scaler"] = accelerator.scaler.state_dict()
        return saved

    def restore(self, saved: dict[str, Any], accelerator: Accelerator) -> None:
        restore_optimizer(self.optimizer, saved["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(saved["scaler"])


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments, but keep the settings (betas, weight decay) of the config at hand."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


class RunState(Protocol):
    """What the loop, its updates and its checkpoints ask of a run, whatever it trains."""

    @property
    def config(self) -> RunConfig: ...
    @property
    def accelerator(self) -> Accelerator: ...
    @property
    def average(self) -> WeightAverage[Any]: ...
    @property
    def guard(self) -> Guard: ...
    @property
    def network(self) -> nn.Module:
        """What the averaged weights follow."""

    def usage(self) -> dict[str, float]:
        """What is logged beside an update's terms, where they are due."""

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds beside the network and its average: tensors, and numbers."""

    def restore(self, saved: dict[str, Any]) -> None:
        """Take that back."""


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

    @property
    def network(self) -> Autoencoder:
        return self.autoencoder

    def usage(self) -> dict[str, float]:
        quantizer = self.autoencoder.quantizer
        return {} if quantizer is None else quantizer.training_usage()

    def saved(self) -> dict[str, Any]:
        """Under the names that checkpoints have had from the first."""
        saved = self.generator.saved(self.accelerator) | {
            "log_variance": self.generator.module.log_variance.detach(),
            "skipped": [self.guard.num_skipped, self.guard.num_in_a_row],
        }
        if self.discriminator is not None:
            saved["discriminator"] = self.discriminator.module.state_dict()
            saved["discriminator_optimizer"] = self.discriminator.optimizer.state_dict()
        return saved

    def restore(self, saved: dict[str, Any]) -> None:
        self.generator.restore(saved, self.accelerator)
        self.generator.module.log_variance.data.copy_(saved["log_variance"])
        self.guard.num_skipped, self.guard.num_in_a_row = saved["skipped"]
        if self.discriminator is not None:
            self.discriminator.module.load_state_dict(saved["discriminator"])
            restore_optimizer(self.discriminator.optimizer, saved["discriminator_optimizer"])
