"""The adversarial half of a training step: the generator's term, the discriminator's update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.distributed import sum_over_ranks, world
from ldm_ae.losses.adaptive_weight import adaptive_weight
from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.critic import Critic
from ldm_ae.losses.gan_losses import (
    discriminator_loss,
    generator_loss,
    lecam,
    r1_penalty,
)
from ldm_ae.models.base import at_least_fp32
from ldm_ae.train.state import TrainState
from ldm_ae.train.update import Evidence, Terms, checked_update


def generator_factor(state: TrainState, step: int) -> float | None:
    """Factor of the generator's term at this step: 0 while the discriminator warms up, None
    while there is none, or before its start."""
    config = state.objective.config.adversarial
    if state.discriminator is None or step < config.start_step:
        return None
    return config.generator_factor(state.discriminator.module.num_updates)


def adversarial_term(
    state: TrainState, fake: Tensor, reconstruction_loss: Tensor, factor: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's weighted term. The discriminator is frozen and called without its
    data-parallel wrapper, for it takes no gradient here."""
    assert state.discriminator is not None
    config, critic = state.objective.config.adversarial, state.discriminator.module
    critic.requires_grad_(False)
    loss = generator_loss(config.loss, at_least_fp32(critic(fake)))
    critic.requires_grad_(True)
    weight = torch.ones_like(loss)
    if config.adaptive:
        last_layer = state.autoencoder.decoder.conv_out.weight
        # LDM sums its KL model's loss over an image, but takes the VQ model's as a mean.
        num_values = fake[0].numel() if state.autoencoder.loss_is_summed else 1
        weight = adaptive_weight(reconstruction_loss, loss, last_layer, num_values)
    logs = {
        "adversarial": loss.detach(),
        "adaptive_weight": weight,
        "adversarial_factor": torch.full_like(weight, factor),
    }
    return config.weight * factor * weight * loss, logs


def discriminator_step(state: TrainState, batches: Sequence[Batch], fakes: list[Tensor]) -> Terms:
    """One update of the discriminator on images and their reconstructions (detached).

    Raises NonFiniteError before the update, as the generator's does; the update then counts for
    nothing.
    """
    trained = state.discriminator
    assert trained is not None
    critic, config = trained.module, state.objective.config.adversarial
    lr_factor = config.lr_factor(critic.num_updates)
    share = 1 / len(batches)
    evidence: list[Evidence] = []
    means = torch.zeros(2, device=fakes[0].device)  # of real and fake logits
    for i, (batch, fake) in enumerate(zip(batches, fakes, strict=True)):
        with trained.syncing(state.accelerator, last=i == len(batches) - 1):
            # Two passes: a batch norm must see the fakes as it does in the generator's step.
            real_logits = at_least_fp32(trained.wrapped(batch.images))
            fake_logits = at_least_fp32(trained.wrapped(fake))
            loss, terms = _loss(critic, config, batch.images, real_logits, fake_logits)
            state.accelerator.backward(loss * share)
        both = torch.stack([real_logits.mean(), fake_logits.mean()]).detach()
        means += both * share
        terms |= {"logits_real": both[0], "logits_fake": both[1]}
        evidence.append(Evidence(batch, fake, terms))
    averages = checked_update(state, trained, evidence)
    real_mean, fake_mean = sum_over_ranks(means) / world()[1]
    critic.count_update(real_mean, fake_mean, config.lecam_decay)
    norm = averages.pop("grad_norm")
    return {**averages, "discriminator_grad_norm": norm, "discriminator_lr_factor": lr_factor}


def _loss(
    critic: Critic,
    config: AdversarialConfig,
    images: Tensor,
    real: Tensor,
    fake: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The discriminator's loss of one micro-batch, and its terms, unweighted and detached."""
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
