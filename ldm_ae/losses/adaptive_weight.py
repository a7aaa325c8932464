"""The adaptive weight of the generator's adversarial term (Esser et al. 2021, eq. 7)."""

import torch
from torch import Tensor

from ldm_ae.distributed import sum_over_ranks, world

# LDM: ratio of gradient norms, stabilised and clamped, in units of losses summed over an image.
_RATIO_EPS, _RATIO_MAX = 1e-4, 1e4


def adaptive_weight(
    reconstruction_loss: Tensor, adversarial_loss: Tensor, last_layer: Tensor, num_values: int
) -> Tensor:
    """Ratio of gradient norms at the decoder's last layer, detached.

    reconstruction_loss is a mean over num_values = C H W values of an image; the ratio is formed
    and clamped to [0, 1e4] for their sum, as LDM has it for KL, and returned for the mean. (LDM's
    VQ loss is a mean already: num_values = 1.) The gradients are averaged over ranks first, so
    that every rank weighs alike. They are those of the unscaled losses: in fp16, whose loss scale
    acts only later, small ones may round to 0 on the way through the decoder's last layer.
    """
    (reconstruction,) = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)
    (adversarial,) = torch.autograd.grad(adversarial_loss, last_layer, retain_graph=True)
    world_size = world()[1]
    reconstruction = sum_over_ranks(reconstruction) / world_size
    adversarial = sum_over_ranks(adversarial) / world_size
    ratio = num_values * reconstruction.norm() / (adversarial.norm() + _RATIO_EPS)
    return ratio.clamp(0.0, _RATIO_MAX).detach() / num_values
