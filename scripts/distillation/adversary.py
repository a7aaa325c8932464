"""Images that the distilled network takes for better than they are.

An autoencoder that is trained with the network follows its gradient. Where that leads must be
among the pairs whose true distance is taught, or the network's blind spots are what is learned.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_ae.losses.embedded import EmbeddedPerceptual
from ldm_ae.losses.feature_distance import feature_distance

STEP_RANGE = (0.005, 0.1)  # root mean square of the change, of a range of 2
SMOOTHINGS = (1, 2, 4)  # pixels: a decoder follows the smooth part of the gradient best


def student_distance(student: EmbeddedPerceptual, images: Tensor, references: Tensor) -> Tensor:
    """(B,), with the graph to `images` but not to the network's weights."""
    with torch.no_grad():
        wanted = student.features(references)
    weights = [weights.detach() for weights in student.level_weights()]
    return feature_distance(student.features(images), wanted, weights)


def descend(student: EmbeddedPerceptual, images: Tensor, references: Tensor, seed: int) -> Tensor:
    """`images` moved down the network's own slope, each by a length drawn for it."""
    generator = torch.Generator().manual_seed(seed)
    images = images.detach().requires_grad_()
    distance = student_distance(student, images, references)
    (slope,) = torch.autograd.grad(distance.sum(), images)
    size = SMOOTHINGS[int(torch.randint(len(SMOOTHINGS), (), generator=generator))]
    if size > 1:
        slope = F.interpolate(F.avg_pool2d(slope, size), images.shape[2:], mode="bilinear")
    slope = slope / slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    low, high = map(math.log, STEP_RANGE)
    lengths = torch.rand((len(images), 1, 1, 1), generator=generator) * (high - low) + low
    return (images.detach() - lengths.exp() * slope).clamp(-1, 1)
