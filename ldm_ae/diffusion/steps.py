"""The state of a denoiser's training, and one update of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ldm_ae.diffusion.config import DiffusionConfig, DiffusionTrainConfig
from ldm_ae.diffusion.denoiser import build_denoiser, denoising_loss
from ldm_ae.diffusion.latents import LatentBatch
from ldm_ae.train.build import make_optimizer, prepared
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.non_finite import Guard
from ldm_ae.train.state import Trained
from ldm_ae.train.steps import set_learning_rate
from ldm_ae.train.update import Evidence, Terms, checked_update


@dataclass(frozen=True)
class DiffusionState:
    """A `RunState`. average: of the denoiser."""

    config: DiffusionTrainConfig
    accelerator: Accelerator
    denoiser: Trained[nn.Module]
    average: WeightAverage[Any]
    guard: Guard

    @property
    def network(self) -> nn.Module:
        return self.denoiser.module

    def usage(self) -> Terms:
        return {}

    def saved(self) -> dict[str, Any]:
        return self.denoiser.saved(self.accelerator)

    def restore(self, saved: dict[str, Any]) -> None:
        self.denoiser.restore(saved, self.accelerator)


def build_state(
    experiment: DiffusionConfig, shape: tuple[int, int, int], accelerator: Accelerator
) -> DiffusionState:
    """Drawn from the run's seed, the same on every rank. Raises UserError as `build_denoiser`."""
    config = experiment.train
    torch.manual_seed(config.seed)
    network: nn.Module = build_denoiser(experiment.denoiser, shape).to(accelerator.device)
    average = WeightAverage(network, config.ema_decay)
    optimizer = make_optimizer(network, config, in_bf16=config.precision == "bf16")
    return DiffusionState(
        config, accelerator, prepared(accelerator, network, optimizer), average, Guard()
    )


def train_step(state: DiffusionState, batches: Sequence[LatentBatch], step: int) -> Terms:
    """Update number `step`, from 0, on its micro-batches. Returns this rank's loss and the learning
    rates. Raises NonFiniteError before the update."""
    config, trained = state.config, state.denoiser
    rates = set_learning_rate(trained.optimizer, config, step)
    evidence: list[Evidence] = []
    for i, batch in enumerate(batches):
        with trained.syncing(state.accelerator, last=i == len(batches) - 1):
            loss, velocity = denoising_loss(
                trained.wrapped, batch, config.seed, config.label_dropout
            )
            state.accelerator.backward(loss / len(batches))
        evidence.append(Evidence(batch, velocity.detach(), {"loss": loss}))
    terms = checked_update(state, trained, evidence)
    state.average.update(state.network, step)
    return terms | rates
