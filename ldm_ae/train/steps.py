"""One training step: the generator's update, then the discriminator's, on the same batch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.noise import mix, noise_keys
from ldm_ae.train.adversarial import adversarial_term, discriminator_step, generator_factor
from ldm_ae.train.non_finite import (
    NonFiniteError,
    quantizer_state,
    restore_quantizer,
)
from ldm_ae.train.run_config import LearningRateSchedule, RunConfig
from ldm_ae.train.state import TrainState
from ldm_ae.train.update import Evidence, Terms, checked_update


def train_step(state: TrainState, batches: Sequence[Batch], step: int) -> Terms:
    """Update number `step`, from 0, on its micro-batches: all that training does with a batch.
    Returns this rank's loss terms, means over the micro-batches, and the learning rates.

    The loss of micro-batch i counts 1 / len(batches), so that accumulation equals a larger
    batch; a codebook and an adaptive weight go by micro-batches. A loss term or gradient that is
    not finite is met before the update: NonFiniteError (a FloatingPointError) names the terms and
    images, or the guard's policy skips the update.
    """
    seed_step(state.config.seed, step, state.accelerator.process_index)
    rates = set_learning_rates(state, step)
    state.autoencoder.set_step(step)
    terms = _update(state, batches, step)
    state.average.update(state.autoencoder, step)
    return terms | rates


def seed_step(seed: int, step: int, rank: int) -> None:
    """Start the process' own random numbers anew, as a function of the step: whatever draws from
    them goes on after a resume as if nothing had happened."""
    number = mix(seed, step, rank)
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def set_learning_rates(state: TrainState, step: int) -> Terms:
    """Set every optimizer's learning rate for the update after `step` updates; returns them by
    the names they are logged under."""
    config = state.config
    rates = set_learning_rate(state.generator.optimizer, config, step)
    if state.discriminator is not None:
        adversarial = state.objective.config.adversarial
        own = adversarial.lr_factor(state.discriminator.module.num_updates)
        for group in state.discriminator.optimizer.param_groups:
            group["lr"] = (adversarial.lr or config.lr) * _factor(config, step) * own
            rates["learning_rate_discriminator"] = group["lr"]
    return rates


def set_learning_rate(optimizer: torch.optim.Optimizer, config: RunConfig, step: int) -> Terms:
    """The same of one optimizer, AdamW or Muon."""
    factor = _factor(config, step)
    rates = {"learning_rate": config.lr * factor}
    for group in optimizer.param_groups:
        muon = group.get("orthogonal", False)
        group["lr"] = (config.muon_lr if muon else config.lr) * factor
        if muon:
            rates["learning_rate_muon"] = group["lr"]
    return rates


def _factor(config: RunConfig, step: int) -> float:
    return learning_rate_factor(
        step, config.steps, config.warmup_steps, config.lr_schedule, config.final_lr_factor
    )


def learning_rate_factor(
    step: int,
    total_steps: int,
    warmup_steps: int,
    schedule: LearningRateSchedule,
    final_factor: float = 0.0,
) -> float:
    """Factor of the base learning rate for the update after `step` updates.

    Linear warm-up to 1 over warmup_steps, then constant, or a half cosine down to final_factor at
    total_steps.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _update(state: TrainState, batches: Sequence[Batch], step: int) -> Terms:
    """Both networks' updates, unless the guard skips them."""
    guard = state.guard
    factor = generator_factor(state, step)
    codes = quantizer_state(state.autoencoder.quantizer) if guard.policy == "skip" else {}
    terms: Terms = {}
    try:
        terms, fakes = _generator_step(state, batches, step, factor)
        codes = {}  # the update is made, and what the forward pass moved stays with it
        if factor is not None:
            terms |= discriminator_step(state, batches, fakes)
        guard.num_in_a_row = 0
    except NonFiniteError as error:
        guard.skip(error)
        restore_quantizer(state.autoencoder.quantizer, codes)
    if guard.policy == "skip":
        terms["skipped_updates"] = guard.num_skipped
    return terms


def _generator_step(
    state: TrainState, batches: Sequence[Batch], step: int, factor: float | None
) -> tuple[Terms, list[Tensor]]:
    """factor: of the adversarial term; None and 0 leave it out, None needs no fakes either."""
    evidence: list[Evidence] = []
    fakes: list[Tensor] = []
    generator, share = state.generator, 1 / len(batches)
    for i, batch in enumerate(batches):
        with generator.syncing(state.accelerator, last=i == len(batches) - 1):
            output = generator.wrapped(batch.images, noise_keys(batch.keys, state.config.seed))
            losses = state.objective(batch.images, output, generator.module.log_variance, step)
            total, terms = losses.total, losses.terms
            if factor:
                term, logs = adversarial_term(state, output.images, losses.reconstruction, factor)
                total, terms = total + term, terms | logs
            state.accelerator.backward(total * share)
        fakes.append(output.images.detach())
        evidence.append(Evidence(batch, fakes[-1], terms))
    return checked_update(state, generator, evidence), fakes
