"""One training step: the generator's update, then the discriminator's, on the same batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.losses.equivariance import Transform, draw_transform, transformed
from ldm_ae.noise import mix
from ldm_ae.train.adversary import adversarial_term, discriminator_step, generator_factor
from ldm_ae.train.non_finite import (
    Evidence,
    NonFiniteError,
    quantizer_state,
    restore_quantizer,
)
from ldm_ae.train.players import Players, Terms, Trainee
from ldm_ae.train.update import checked_update

__all__ = ["Players", "Terms", "Trainee", "noise_keys", "train_step"]


def noise_keys(keys: Tensor, seed: int) -> Tensor:
    """Keys of images (B,) mixed with the run's seed, int64 (B,)."""
    return torch.tensor([mix(seed, key) for key in keys.tolist()], dtype=torch.int64)


def train_step(
    players: Players, batches: list[Batch], step: int, seed: int, clip_norm: float
) -> Terms:
    """One update from micro-batches; returns detached scalars, means over the micro-batches.

    The loss of micro-batch i counts 1 / len(batches), so that accumulation equals a larger
    batch; a codebook and an adaptive weight go by micro-batches. A loss term or gradient that is
    not finite is met before the update: NonFiniteError (a FloatingPointError) names the terms and
    images, or the guard's policy skips the update.
    """
    guard = players.guard
    factor = generator_factor(players, step)
    autoencoder = players.trainee.autoencoder
    transform = draw_transform(players.objective.config.equivariance, seed, step)
    targets = transformed(batches, transform, autoencoder.downsampling_factor)
    codes = quantizer_state(autoencoder) if guard.policy == "skip" else {}
    terms: Terms = {}
    try:
        terms, fakes = _generator_step(
            players, batches, targets, transform, step, seed, clip_norm, factor
        )
        codes = {}  # the update is made, and what the forward pass moved stays with it
        if factor is not None:
            terms |= discriminator_step(players, targets, fakes, clip_norm)
        guard.num_in_a_row = 0
    except NonFiniteError as error:
        guard.skip(error)
        restore_quantizer(autoencoder, codes)
    if players.objective.config.equivariance.probability > 0:
        terms["equivariance"] = torch.tensor(
            float(transform is not None), device=batches[0].images.device
        )
    if guard.policy == "skip":
        terms["skipped_updates"] = torch.tensor(
            float(guard.num_skipped), device=batches[0].images.device
        )
    return terms


def _generator_step(
    players: Players,
    batches: list[Batch],
    targets: list[Batch],
    transform: Transform | None,
    step: int,
    seed: int,
    clip_norm: float,
    factor: float | None,
) -> tuple[Terms, list[Tensor]]:
    """targets: what the transformed latents of the batches should decode to.

    factor: of the adversarial term; None and 0 leave it out, None needs no fakes either.
    """
    evidence: list[Evidence] = []
    fakes: list[Tensor] = []
    share = 1 / len(batches)
    latents = None if transform is None else transform.latents
    for i, (batch, target) in enumerate(zip(batches, targets, strict=True)):
        with players.syncing(players.model, last=i == len(batches) - 1):
            output = players.model(batch.images, noise_keys(batch.keys, seed), latents)
            losses = players.objective(target.images, output, players.trainee.log_variance, step)
            total, terms = losses.total, losses.terms
            if factor:
                term, logs = adversarial_term(players, output.images, losses.reconstruction, factor)
                total, terms = total + term, terms | logs
            players.accelerator.backward(total * share)
        fakes.append(output.images.detach())
        evidence.append(Evidence(batch, fakes[-1], terms))
    norm = checked_update(
        players.accelerator, players.optimizer, players.trainee, clip_norm, evidence
    )
    means = {name: sum(item.terms[name] for item in evidence) * share for name in evidence[0].terms}
    return {**means, "grad_norm": norm}, fakes  # type: ignore[dict-item]
