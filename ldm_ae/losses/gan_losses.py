"""Adversarial losses, LeCam and R1, as functions of a discriminator's logits.

A discriminator gives a list of logit maps (B, 1, h, w): one, or one per scale or head. Each map
is averaged by itself, and the maps count alike.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GanLoss = Literal["hinge", "non_saturating", "vanilla"]
Logits = Sequence[Tensor]


def map_means(logits: Logits) -> Tensor:
    """The mean of each map: M maps (B, 1, h_m, w_m) -> (M,)."""
    return torch.stack([part.mean() for part in logits])


def generator_loss(kind: GanLoss, fake: Logits) -> Tensor:
    """softplus(-D(x')) for `non_saturating` (Goodfellow et al. 2014, section 3), else -D(x').

    `vanilla` has the latter too: that is how LDM pairs its logistic discriminator.
    """
    return map_means([F.softplus(-d) if kind == "non_saturating" else -d for d in fake]).mean()


def discriminator_loss(kind: GanLoss, real: Logits, fake: Logits) -> Tensor:
    """1/2 (relu(1 - D(x)) + relu(1 + D(x'))) for `hinge` (Lim and Ye 2017), else
    1/2 (softplus(-D(x)) + softplus(D(x'))) (Goodfellow et al. 2014, eq. 1); means."""
    penalty = _hinge if kind == "hinge" else F.softplus
    above = map_means([penalty(-d) for d in real])
    below = map_means([penalty(d) for d in fake])
    return 0.5 * (above + below).mean()


def _hinge(values: Tensor) -> Tensor:
    return F.relu(1 + values)


def lecam(real: Logits, fake: Logits, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """mean relu(D(x) - a_fake)^2 + mean relu(a_real - D(x'))^2 (Tseng et al. 2021, eq. 4).

    Anchors (M,) are moving averages of the mean logits, one per map. The one-sided form is that
    of the authors' code: real logits are pulled down to the fakes' anchor, never up.
    """
    above = map_means([F.relu(d - a).square() for d, a in zip(real, fake_anchor, strict=True)])
    below = map_means([F.relu(a - d).square() for d, a in zip(fake, real_anchor, strict=True)])
    return (above + below).mean()


def r1_penalty(network: Callable[[Tensor], Logits], images: Tensor) -> Tensor:
    """mean over images of |grad_x D(x)|^2 at real images (Mescheder et al. 2018, eq. 9).

    D(x) is the image's mean logit over positions and maps; the square is summed over the image's
    values. The factor gamma / 2 is the caller's. Differentiable in the network's weights; pass
    the network without autocast, for squared gradients of bf16 logits are mostly rounding.
    """
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False):
        per_image = torch.stack([d.mean(dim=(1, 2, 3)) for d in network(images)]).mean(dim=0)
        (gradient,) = torch.autograd.grad(per_image.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
