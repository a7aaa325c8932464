"""From a config to what training moves: networks, optimizers and the objective."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from ldm_ae.errors import UserError
from ldm_ae.losses.critic import Critic, build_critic
from ldm_ae.losses.objective import Objective
from ldm_ae.losses.perceptual import PerceptualLoss, build_perceptual
from ldm_ae.losses.views import smallest_image
from ldm_ae.train.config import Experiment
from ldm_ae.train.ema import WeightAverage
from ldm_ae.train.initial import initial_model, teacher_of
from ldm_ae.train.kernels import use_kernels
from ldm_ae.train.muon import Muon, muon_groups
from ldm_ae.train.non_finite import Guard
from ldm_ae.train.run_config import RunConfig
from ldm_ae.train.state import Generator, Network, Trained, TrainState

DISCRIMINATOR_BETAS = (0.5, 0.9)


def build_perceptual_metric(experiment: Experiment, device: torch.device) -> PerceptualLoss | None:
    """The perceptual network of the config, for training and validation alike.

    Raises UserError if it cannot be had, or cannot see images as small as the crops.
    """
    loss = experiment.loss
    if loss.perceptual.net == "none":
        for name in ("perceptual_weight", "texture_weight"):
            if getattr(loss, name) > 0:
                raise UserError(
                    f"loss.{name}={getattr(loss, name)} with loss.perceptual.net=none: name a"
                    " network, or set the weight to 0"
                )
        return None
    perceptual = build_perceptual(loss.perceptual).to(device)
    side, name = perceptual.network.min_size, perceptual.name
    if loss.perceptual_views:
        side = smallest_image(side, loss.view_scales[0])
        name += f" in views of {loss.view_scales[0]} of the size (loss.view_scales)"
    experiment.require_images_of(side, name)
    return perceptual


def build_state(experiment: Experiment, accelerator: Accelerator) -> TrainState:
    """Networks, drawn from the run's seed, the same on every rank, and their optimizers, prepared.

    Raises UserError as `build_perceptual_metric` and `initial_model`.
    """
    config, loss = experiment.train, experiment.loss
    torch.manual_seed(config.seed)
    perceptual = build_perceptual_metric(experiment, accelerator.device)
    model, teacher = initial_model(experiment), teacher_of(experiment)
    generator = Generator(model, loss, teacher).to(accelerator.device)
    use_kernels(model, config.kernels)
    if teacher is not None:
        use_kernels(teacher.model, config.kernels)
    average = WeightAverage(generator.autoencoder, config.ema_decay)
    in_bf16 = config.kernels == "fast" and config.precision == "bf16"
    trained = prepared(accelerator, generator, make_optimizer(generator, config, in_bf16))
    discriminator = None
    if loss.adversarial.weight > 0:
        discriminator = _build_discriminator(experiment, accelerator)
    used = perceptual if loss.needs_perceptual else None
    return TrainState(
        config,
        accelerator,
        perceptual,
        Objective(
            loss,
            used,
            generator.autoencoder.regularized_per_value,
            generator.autoencoder.downsampling_factor,
        ),
        trained,
        discriminator,
        average,
        Guard(config.non_finite, config.max_skipped),
    )


def prepared(
    accelerator: Accelerator, module: Network, optimizer: torch.optim.Optimizer
) -> Trained[Network]:
    return Trained(module, *accelerator.prepare(module, optimizer))


def make_optimizer(
    module: nn.Module, config: RunConfig, in_bf16: bool = False
) -> torch.optim.Optimizer:
    """Of the weights that take a gradient. in_bf16: of Muon's products."""
    named = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
    muon = config.optimizer == "muon"
    kind: type[torch.optim.AdamW] = Muon if muon else torch.optim.AdamW
    if muon:
        groups = muon_groups(named, config.muon_lr, in_bf16)
    else:
        groups = [{"params": [parameter for _, parameter in named]}]
    return kind(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def _build_discriminator(experiment: Experiment, accelerator: Accelerator) -> Trained[Critic]:
    config = experiment.loss.adversarial
    critic = build_critic(config, experiment.data.channels).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        critic.parameters(),
        lr=config.lr or experiment.train.lr,
        betas=DISCRIMINATOR_BETAS,
        weight_decay=0.0,
    )
    return prepared(accelerator, critic, optimizer)
