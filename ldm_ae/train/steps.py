"""One training step: the generator's update, then the discriminator's, on the same batch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_ae.data.batch import Batch
from ldm_ae.losses.adversarial import adaptive_weight, discriminator_hinge, generator_hinge
from ldm_ae.losses.objective import LossConfig, Objective
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.noise import mix
from ldm_ae.models.outputs import Reconstruction

Terms = dict[str, Tensor]


class Trainee(nn.Module):
    """What the optimizer and the ranks share: the autoencoder and the likelihood's variance."""

    def __init__(self, autoencoder: Autoencoder, loss: LossConfig) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.log_variance = nn.Parameter(
            torch.tensor(loss.log_variance_init), requires_grad=loss.learn_log_variance
        )

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        return self.autoencoder(images, keys)


@dataclass
class Players:
    """The networks and their optimizers, as Accelerate prepared them.

    trainee: the plain module behind `model`; `model` is what training calls.
    """

    accelerator: Accelerator
    objective: Objective
    trainee: Trainee
    model: nn.Module
    optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None = None
    discriminator_optimizer: torch.optim.Optimizer | None = None


def noise_keys(keys: Tensor, seed: int) -> Tensor:
    """Keys of images (B,) mixed with the run's seed, int64 (B,)."""
    return torch.tensor([mix(seed, key) for key in keys.tolist()], dtype=torch.int64)


def train_step(
    players: Players, batches: list[Batch], step: int, seed: int, clip_norm: float
) -> Terms:
    """One update from micro-batches; returns detached scalars, means over the micro-batches.

    The loss of micro-batch i counts 1 / len(batches), so that accumulation equals a larger
    batch. Raises FloatingPointError before the update if the gradient is not finite.
    """
    adversarial = players.objective.config.adversarial
    playing = players.discriminator is not None and step >= adversarial.start_step
    terms, fakes = _generator_step(players, batches, step, seed, clip_norm, playing)
    if playing:
        terms |= _discriminator_step(players, batches, fakes, clip_norm)
    return terms


def _syncing(players: Players, network: nn.Module, last: bool) -> contextlib.AbstractContextManager:
    """Gradients cross ranks with the last micro-batch only."""
    return contextlib.nullcontext() if last else players.accelerator.no_sync(network)


def _generator_step(
    players: Players, batches: list[Batch], step: int, seed: int, clip_norm: float, playing: bool
) -> tuple[Terms, list[Tensor]]:
    collected: list[Terms] = []
    fakes: list[Tensor] = []
    share = 1 / len(batches)
    for i, batch in enumerate(batches):
        with _syncing(players, players.model, last=i == len(batches) - 1):
            output = players.model(batch.images, noise_keys(batch.keys, seed))
            losses = players.objective(batch.images, output, players.trainee.log_variance, step)
            total, terms = losses.total, losses.terms
            if playing:
                term, logs = _adversarial_term(players, output.images, losses.reconstruction)
                total, terms = total + term, terms | logs
                fakes.append(output.images.detach())
            players.accelerator.backward(total * share)
        collected.append(terms)
    norm = _update(players, players.optimizer, players.trainee, clip_norm)
    means = {name: sum(terms[name] for terms in collected) * share for name in collected[0]}
    return {**means, "grad_norm": norm}, fakes  # type: ignore[dict-item]


def _adversarial_term(
    players: Players, fake: Tensor, reconstruction_loss: Tensor
) -> tuple[Tensor, Terms]:
    """The generator's weighted term. The discriminator is frozen and called without its
    data-parallel wrapper, for it takes no gradient here."""
    config = players.objective.config.adversarial
    discriminator = players.accelerator.unwrap_model(players.discriminator)
    discriminator.requires_grad_(False)
    loss = generator_hinge(discriminator(fake).float())
    discriminator.requires_grad_(True)
    weight = torch.ones_like(loss)
    if config.adaptive:
        last_layer = players.trainee.autoencoder.decoder.conv_out.weight
        # LDM sums its KL model's loss over an image, but takes the VQ model's as a mean.
        num_values = 1 if players.trainee.autoencoder.family == "vq" else fake[0].numel()
        weight = adaptive_weight(reconstruction_loss, loss, last_layer, num_values)
    logs = {"adversarial": loss.detach(), "adaptive_weight": weight}
    return config.weight * weight * loss, logs


def _discriminator_step(
    players: Players, batches: list[Batch], fakes: list[Tensor], clip_norm: float
) -> Terms:
    assert players.discriminator is not None and players.discriminator_optimizer is not None
    share = 1 / len(batches)
    total = torch.zeros((), device=fakes[0].device)
    for i, (batch, fake) in enumerate(zip(batches, fakes, strict=True)):
        with _syncing(players, players.discriminator, last=i == len(batches) - 1):
            # Two passes: a batch norm must see the fakes as it does in the generator's step.
            real_logits = players.discriminator(batch.images).float()
            fake_logits = players.discriminator(fake).float()
            loss = discriminator_hinge(real_logits, fake_logits)
            players.accelerator.backward(loss * share)
        total += loss.detach() * share
    _update(players, players.discriminator_optimizer, players.discriminator, clip_norm)
    return {"discriminator": total}


def _update(
    players: Players, optimizer: torch.optim.Optimizer, network: nn.Module, clip_norm: float
) -> Tensor:
    """Clip, check, step, clear; returns the gradient's norm before clipping."""
    limit = clip_norm if clip_norm > 0 else float("inf")
    norm = players.accelerator.clip_grad_norm_(network.parameters(), limit)
    assert norm is not None
    # A loss scaler (fp16) finds and skips such steps itself, while it looks for its scale.
    if players.accelerator.scaler is None and not torch.isfinite(norm):
        raise FloatingPointError(
            f"the gradient's norm is {float(norm)}: training stops before the update."
            " Lower train.lr, or use train.precision=fp32"
        )
    optimizer.step()
    scaler = players.accelerator.scaler
    if scaler is not None and scaler.get_scale() < 1:
        raise FloatingPointError(
            "fp16 gradients overflow at every loss scale down to 1: use train.precision=bf16"
        )
    optimizer.zero_grad(set_to_none=True)
    return norm.detach()
