"""The adversarial half of a training step: the generator's term, the discriminator's update."""

from __future__ import annotations

import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.distributed import sum_over_ranks, world
from ldm_ae.losses.adaptive_weight import adaptive_weight
from ldm_ae.losses.gan_losses import (
    discriminator_loss,
    generator_loss,
    lecam,
    map_means,
    r1_penalty,
)
from ldm_ae.models.base import at_least_fp32
from ldm_ae.train.non_finite import Evidence
from ldm_ae.train.players import Players, Terms
from ldm_ae.train.update import checked_update


def generator_factor(players: Players, step: int) -> float | None:
    """Factor of the generator's term at this step: 0 while the discriminator warms up, None
    while nobody plays."""
    config = players.objective.config.adversarial
    if players.critic is None or step < config.start_step:
        return None
    return config.generator_factor(players.critic.num_updates)


def adversarial_term(
    players: Players, fake: Tensor, reconstruction_loss: Tensor, factor: float
) -> tuple[Tensor, Terms]:
    """The generator's weighted term. The discriminator is frozen and called without its
    data-parallel wrapper, for it takes no gradient here."""
    assert players.critic is not None
    config = players.objective.config.adversarial
    players.critic.requires_grad_(False)
    loss = generator_loss(config.loss, _full_precision(players.critic(fake)))
    players.critic.requires_grad_(True)
    weight = torch.ones_like(loss)
    if config.adaptive:
        last_layer = players.trainee.autoencoder.decoder.conv_out.weight
        # LDM sums its KL model's loss over an image, but takes the VQ model's as a mean.
        num_values = 1 if players.trainee.autoencoder.family == "vq" else fake[0].numel()
        weight = adaptive_weight(reconstruction_loss, loss, last_layer, num_values)
    logs = {
        "adversarial": loss.detach(),
        "adaptive_weight": weight,
        "adversarial_factor": torch.full_like(weight, factor),
    }
    return config.weight * factor * weight * loss, logs


def discriminator_step(
    players: Players, batches: list[Batch], fakes: list[Tensor], clip_norm: float
) -> Terms:
    """One update of the discriminator on images and their reconstructions (detached).

    Raises NonFiniteError before the update, as the generator's does; the update then counts for
    nothing.
    """
    assert players.critic is not None
    assert players.discriminator is not None and players.discriminator_optimizer is not None
    critic, config = players.critic, players.objective.config.adversarial
    lr_factor = config.lr_factor(critic.num_updates)
    share = 1 / len(batches)
    collected: list[Terms] = []
    means = torch.zeros(2, len(critic.real_anchor), device=fakes[0].device)  # (real | fake, M)
    for i, (batch, fake) in enumerate(zip(batches, fakes, strict=True)):
        with players.syncing(players.discriminator, last=i == len(batches) - 1):
            # Two passes: a batch norm must see the fakes as it does in the generator's step.
            real_logits = _full_precision(players.discriminator(batch.images))
            fake_logits = _full_precision(players.discriminator(fake))
            loss, terms = _loss(players, batch.images, real_logits, fake_logits)
            players.accelerator.backward(loss * share)
        both = torch.stack([map_means(real_logits), map_means(fake_logits)]).detach()
        means += both * share
        collected.append(terms | {"logits_real": both[0].mean(), "logits_fake": both[1].mean()})
    evidence = [
        Evidence(*triple) for triple in zip(batches, fakes, collected, strict=True)
    ]  # what require_finite names
    norm = checked_update(
        players.accelerator,
        players.discriminator_optimizer,
        players.discriminator,
        clip_norm,
        evidence,
    )
    real_means, fake_means = sum_over_ranks(means) / world()[1]
    critic.count_update(real_means, fake_means, config.lecam_decay)
    averages = {name: sum(terms[name] for terms in collected) * share for name in collected[0]}
    return {
        **averages,  # type: ignore[dict-item]
        "discriminator_grad_norm": norm,
        "discriminator_lr_factor": torch.full_like(norm, lr_factor),
    }


def _loss(
    players: Players, images: Tensor, real: list[Tensor], fake: list[Tensor]
) -> tuple[Tensor, Terms]:
    """The discriminator's loss of one micro-batch, and its terms, unweighted and detached."""
    critic, config = players.critic, players.objective.config.adversarial
    assert critic is not None
    total = discriminator_loss(config.loss, real, fake)
    terms = {"discriminator": total.detach()}
    if config.lecam_weight > 0 and critic.num_updates:
        # The anchors of earlier updates: all micro-batches and ranks see the same ones.
        term = lecam(real, fake, critic.real_anchor, critic.fake_anchor)
        terms["lecam"] = term.detach()
        total = total + config.lecam_weight * term
    if config.r1_weight > 0:
        if critic.num_updates % config.r1_every == 0:
            # Lazily, but as strong on average (Karras et al. 2020, appendix B).
            term = r1_penalty(critic.network, images)
            critic.last_r1 = term.detach()
            total = total + 0.5 * config.r1_weight * config.r1_every * term
        terms["r1"] = critic.last_r1
    return total, terms


def _full_precision(logits: list[Tensor]) -> list[Tensor]:
    return [at_least_fp32(part) for part in logits]
