"""Who takes part in a training step: networks and optimizers, as Accelerate prepared them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_ae.losses.critic import Critic
from ldm_ae.losses.objective import LossConfig, Objective
from ldm_ae.models.base import Autoencoder, LatentTransform
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.train.non_finite import Guard

Terms = dict[str, Tensor]


class Trainee(nn.Module):
    """What the optimizer and the ranks share: the autoencoder and the likelihood's variance."""

    def __init__(self, autoencoder: Autoencoder, loss: LossConfig) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.log_variance = nn.Parameter(
            torch.tensor(loss.log_variance_init), requires_grad=loss.learn_log_variance
        )

    def forward(
        self, images: Tensor, keys: Tensor | None = None, transform: LatentTransform = None
    ) -> Reconstruction:
        if transform is None:
            return self.autoencoder(images, keys)
        return self.autoencoder(images, keys, transform)


@dataclass
class Players:
    """trainee: the plain module behind `model`; `model` is what training calls. critic: the
    plain module behind `discriminator`. Each pair is there or missing together."""

    accelerator: Accelerator
    objective: Objective
    trainee: Trainee
    model: nn.Module
    optimizer: torch.optim.Optimizer
    critic: Critic | None = None
    discriminator: nn.Module | None = None
    discriminator_optimizer: torch.optim.Optimizer | None = None
    guard: Guard = field(default_factory=Guard)

    def syncing(self, network: nn.Module, last: bool) -> contextlib.AbstractContextManager:
        """Gradients cross ranks with the last micro-batch only."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(network)
