"""Adversarial losses, LeCam and R1, as functions of a discriminator's logits (B, 1, h, w)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GanLoss = Literal["hinge", "non_saturating", "vanilla"]


def generator_loss(kind: GanLoss, fake: Tensor) -> Tensor:
    """softplus(-D(x')) for `non_saturating` (Goodfellow et al. 2014, section 3), else -D(x').

    `vanilla` has the latter too: that is how LDM pairs its logistic discriminator.
    """
    return (F.softplus(-fake) if kind == "non_saturating" else -fake).mean()


def discriminator_loss(kind: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """1/2 (relu(1 - D(x)) + relu(1 + D(x'))) for `hinge` (Lim and Ye 2017), else
    1/2 (softplus(-D(x)) + softplus(D(x'))) (Goodfellow et al. 2014, eq. 1); means."""
    penalty = _hinge if kind == "hinge" else F.softplus
    return 0.5 * (penalty(-real).mean() + penalty(fake).mean())


def _hinge(values: Tensor) -> Tensor:
    return F.relu(1 + values)


def lecam(real: Tensor, fake: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """mean relu(D(x) - a_fake)^2 + mean relu(a_real - D(x'))^2 (Tseng et al. 2021, eq. 4).

    Anchors (1,) are moving averages of the mean logits. The one-sided form is that of the authors'
    code: real logits are pulled down to the fakes' anchor, never up.
    """
    above = F.relu(real - fake_anchor).square().mean()
    return above + F.relu(real_anchor - fake).square().mean()


def r1_penalty(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """mean over images of |grad_x D(x)|^2 at real images (Mescheder et al. 2018, eq. 9).

    D(x) is the image's mean logit over positions; the square is summed over the image's
    values. The factor gamma / 2 is the caller's. Differentiable in the network's weights; pass
    the network without autocast, for squared gradients of bf16 logits are mostly rounding.
    """
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False):
        per_image = network(images).mean(dim=(1, 2, 3))
        (gradient,) = torch.autograd.grad(per_image.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
