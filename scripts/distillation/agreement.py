"""How well the distilled network agrees with LPIPS on photos and distortions kept aside."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_ae.losses.embedded import EmbeddedPerceptual
from ldm_ae.losses.feature_distance import feature_distance
from ldm_ae.losses.perceptual import LPIPSNetwork

from .autoencoders import AutoencoderPool
from .distortions import FAMILIES
from .images import random_crops

NUM_CROPS = 48
CROP_SIZE = 128


def agreement(
    student: EmbeddedPerceptual,
    teacher: LPIPSNetwork,
    pool: AutoencoderPool,
    photos: list[np.ndarray],
) -> dict[str, dict[str, float]]:
    """Per family of distortions, on crops of `photos`: what `compare` measures."""
    rng = np.random.default_rng(0)
    crops = random_crops(photos, NUM_CROPS, CROP_SIZE, rng)
    report = {}
    for name, family in FAMILIES.items():
        changed = torch.cat([family(crop[None], rng) for crop in crops]).clamp(-1, 1)
        report[name] = compare(student, teacher, changed, crops)
    with torch.no_grad():
        outputs = torch.cat([member.model(crops).clamp(-1, 1) for member in pool.members])
    originals = crops.repeat(len(pool.members), 1, 1, 1)
    report["autoencoders"] = compare(student, teacher, outputs, originals)
    return {
        name: {key: round(value, 3) for key, value in row.items()} for name, row in report.items()
    }


def compare(
    student: EmbeddedPerceptual, teacher: LPIPSNetwork, images: Tensor, originals: Tensor
) -> dict[str, float]:
    """Rank correlation, geometric mean of the ratio of distances, cosine of the gradients."""
    ours, our_gradient = _distance_and_gradient(student, images, originals)
    theirs, their_gradient = _distance_and_gradient(teacher, images, originals)
    cosine = F.cosine_similarity(our_gradient.flatten(1), their_gradient.flatten(1))
    return {
        "spearman": spearman(ours, theirs),
        "ratio": torch.log((ours + 1e-4) / (theirs + 1e-4)).mean().exp().item(),
        "gradient_cosine": cosine.mean().item(),
    }


def spearman(a: Tensor, b: Tensor) -> float:
    """Correlation of the ranks; distances have no ties."""
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def _distance_and_gradient(
    network: EmbeddedPerceptual | LPIPSNetwork, images: Tensor, originals: Tensor
) -> tuple[Tensor, Tensor]:
    distances, gradients = [], []
    weights = [w.detach() for w in network.level_weights()]
    for x, y in zip(images.split(16), originals.split(16), strict=True):
        x = x.clone().requires_grad_()
        with torch.no_grad():
            wanted = network.features(y)
        distance = feature_distance(network.features(x), wanted, weights)
        gradients.append(torch.autograd.grad(distance.sum(), x)[0])
        distances.append(distance.detach())
    return torch.cat(distances), torch.cat(gradients)
