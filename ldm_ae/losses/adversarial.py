"""The adversarial term: hinge losses and the adaptive weight."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.distributed import sum_over_ranks, world
from ldm_ae.losses.discriminator import DiscriminatorNorm

# LDM: ratio of gradient norms, stabilised and clamped, in units of losses summed over an image.
_RATIO_EPS, _RATIO_MAX = 1e-4, 1e4


@dataclass(frozen=True)
class AdversarialConfig:
    """weight: factor of the generator's term; 0 builds no discriminator.

    start_step: training step from which both networks play; nothing is computed before.
    adaptive: multiply by the ratio of the gradient norms of the other reconstruction terms and
        of this one at the decoder's last layer (Esser et al. 2021, eq. 7).
    num_layers, base_channels, norm: the PatchGAN.
    """

    weight: float = 0.0
    start_step: int = 50_001
    adaptive: bool = True
    num_layers: int = 3
    base_channels: int = 64
    norm: DiscriminatorNorm = "group"

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"loss.adversarial.weight={self.weight}: use 0 (off) or more")
        if self.start_step < 0:
            raise ValueError(f"loss.adversarial.start_step={self.start_step}: use 0 or more")
        if self.num_layers < 1:
            raise ValueError(f"loss.adversarial.num_layers={self.num_layers}: use 1 or more")
        if self.base_channels < 4 or self.base_channels % 4:
            raise ValueError(
                f"loss.adversarial.base_channels={self.base_channels}: use a multiple of 4"
            )

    @property
    def smallest_image(self) -> int:
        """The least side, in pixels, that the discriminator gives a logit for."""
        return int(3 * 2**self.num_layers)


def generator_hinge(fake_logits: Tensor) -> Tensor:
    """-mean D(x')."""
    return -fake_logits.mean()


def discriminator_hinge(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """1/2 (mean relu(1 - D(x)) + mean relu(1 + D(x'))) (Lim and Ye 2017, as in LDM)."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def adaptive_weight(
    reconstruction_loss: Tensor, adversarial_loss: Tensor, last_layer: Tensor, num_values: int
) -> Tensor:
    """Ratio of gradient norms at the decoder's last layer, detached.

    reconstruction_loss is a mean over num_values = C H W values of an image; the ratio is formed
    and clamped for their sum, as LDM has it for KL, and returned for the mean. (LDM's VQ loss is
    a mean already: num_values = 1.) The gradients are averaged over ranks first, so that every
    rank weighs alike.
    """
    (reconstruction,) = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)
    (adversarial,) = torch.autograd.grad(adversarial_loss, last_layer, retain_graph=True)
    world_size = world()[1]
    reconstruction = sum_over_ranks(reconstruction) / world_size
    adversarial = sum_over_ranks(adversarial) / world_size
    ratio = num_values * reconstruction.norm() / (adversarial.norm() + _RATIO_EPS)
    return ratio.clamp(0.0, _RATIO_MAX).detach() / num_values
