"""What the small network learns from LPIPS: its distances, where they are, and why.

Teacher levels of one resolution are taken together, so that a level of the small network answers
to one or two of the teacher's. The two networks' grids are the same for 96-pixel crops.

The slope of the distance is not among the terms: LPIPS' own gradient hardly knows itself again
after noise of 1 % (`agreement.py` measures it), so there is little in it to be learned. What an
autoencoder makes of the small network's gradient comes back as pairs instead (`autoencoders.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_ae.losses.embedded import EmbeddedPerceptual
from ldm_ae.losses.feature_distance import (
    EPSILON,
    unit_length,
)
from ldm_ae.losses.perceptual import LPIPSNetwork

TEACHER_GROUPS = ((0,), (1,), (2,), (3, 4), (5, 6))  # of LPIPS-squeeze's seven levels
MAP_OFFSET = 1e-4  # of the square roots: below about 0.01 of distance, differences fade out
LOG_OFFSET = 0.003
THIN_ABOVE = 32  # positions a side
NEGLIGIBLE = 1e-3  # of a level's largest channel weight; keeps 99 % of the sum


@dataclass(frozen=True)
class DistillWeights:
    map_weight: float = 1.0
    distance_weight: float = 1.0
    feature_weight: float = 0.3


class Teacher:
    """LPIPS-squeeze by groups of levels, without the channels that hardly weigh in it."""

    def __init__(self, network: LPIPSNetwork) -> None:
        self.network = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        weights = self.network.level_weights()
        self.channels = [(w > NEGLIGIBLE * w.max()).nonzero().flatten() for w in weights]
        kept = [w[c] for w, c in zip(weights, self.channels, strict=True)]
        self.roots = [w.sqrt()[:, None, None] for w in kept]
        self.num_channels = [sum(len(self.channels[i]) for i in group) for group in TEACHER_GROUPS]

    @torch.no_grad()
    def embeddings(self, images: Tensor) -> list[Tensor]:
        """Per group (N, C, h, w): features whose squared distance over C is LPIPS' map."""
        scaled = []
        for level, (channels, root) in zip(
            self.network.features(images), zip(self.channels, self.roots, strict=True), strict=True
        ):
            f = thin(level)
            norm = torch.linalg.vector_norm(f, dim=1, keepdim=True) + EPSILON
            scaled.append(f[:, channels] * root / norm)
        return [torch.cat([scaled[level] for level in group], dim=1) for group in TEACHER_GROUPS]


def student_embeddings(student: EmbeddedPerceptual, images: Tensor) -> list[Tensor]:
    """The same of the small network, with the graph to its weights."""
    return [
        unit_length(thin(f)) * (weights.clamp(min=0) + 1e-12).sqrt()[:, None, None]
        for f, weights in zip(student.features(images), student.level_weights(), strict=True)
    ]


def thin(features: Tensor) -> Tensor:
    """Every second position of the finest level: its neighbours say nearly the same."""
    return features[:, :, ::2, ::2] if features.shape[2] > THIN_ABOVE else features


class Adapters(nn.Module):
    """Linear maps from the small network's unit features to the teacher's, for training only."""

    def __init__(self, student: EmbeddedPerceptual, teacher: Teacher) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        for count, weights in zip(teacher.num_channels, student.level_weights(), strict=True):
            adapter = nn.Conv2d(len(weights), count, 1)
            nn.init.zeros_(adapter.weight)
            self.maps.append(adapter)


def distance_maps(embeddings: Sequence[Tensor], num_references: int) -> list[Tensor]:
    """The first images are references, each later block of as many is compared with them."""
    maps = []
    for z in embeddings:
        blocks = z.split(num_references)
        maps.append(torch.cat([(z - blocks[0]).square().sum(dim=1) for z in blocks[1:]]))
    return maps  # per group (pairs, h, w)


def agreement_loss(
    student_z: list[Tensor],
    teacher_z: list[Tensor],
    adapters: Adapters,
    num_references: int,
    weights: DistillWeights,
) -> dict[str, Tensor]:
    """Weighted terms: maps, whole distances, features."""
    student_maps = distance_maps(student_z, num_references)
    teacher_maps = distance_maps(teacher_z, num_references)
    map_term, feature_term = student_z[0].new_zeros(()), student_z[0].new_zeros(())
    for s, t in zip(student_maps, teacher_maps, strict=True):
        root_t = (t + MAP_OFFSET).sqrt()
        error = (s + MAP_OFFSET).sqrt() - root_t
        map_term = map_term + error.square().mean() / root_t.var()
    for z, t, adapter in zip(student_z, teacher_z, adapters.maps, strict=True):
        spread = (t - t.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
        feature_term = feature_term + F.mse_loss(adapter(z), t) / spread
    distance = torch.stack([m.mean(dim=(1, 2)) for m in student_maps]).sum(dim=0)
    target = torch.stack([m.mean(dim=(1, 2)) for m in teacher_maps]).sum(dim=0)
    log_ratio = torch.log((distance + LOG_OFFSET) / (target + LOG_OFFSET))
    return {
        "map": weights.map_weight * map_term / len(TEACHER_GROUPS),
        "distance": weights.distance_weight * log_ratio.square().mean(),
        "feature": weights.feature_weight * feature_term / len(TEACHER_GROUPS),
    }
