"""Fréchet distance between the features of two sets of images (Heusel et al. 2017).

d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), of features with means m and covariances S. Its
value hangs on the network, on the resizing and on the number of images, so it is compared only
within one setting, and beside the distance of two sets that are alike (the floor).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_ae.errors import UserError


@dataclass(frozen=True)
class FrechetConfig:
    """weights: a file with MobileNetV2's `features`, from torchvision or with batch norms folded
    (see `ldm_ae.metrics.mobilenet`); null measures no Fréchet distance."""

    weights: str | None = None


@dataclass(frozen=True)
class FeatureMoments:
    """count: n. total: sum of features (d,). products: sum of outer products (d, d). float64."""

    count: int
    total: Tensor
    products: Tensor

    @staticmethod
    def of(features: Tensor) -> FeatureMoments:
        """features: (n, d) of any float type."""
        x = features.double()
        return FeatureMoments(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: FeatureMoments) -> FeatureMoments:
        return FeatureMoments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    def mean(self) -> Tensor:
        return self.total / self.count

    def covariance(self) -> Tensor:
        """(d, d), with n - 1. Raises UserError for fewer than two samples."""
        if self.count < 2:
            raise UserError(f"a covariance needs 2 or more images; got {self.count}")
        mean = self.mean()
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


def frechet_distance(first: FeatureMoments, second: FeatureMoments) -> float:
    """Squared Fréchet distance of two Gaussians with these moments (Dowson and Landau 1982).

    tr (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is
    symmetric: no complex numbers arise. Raises UserError for fewer than two samples.
    """
    s1, s2 = first.covariance(), second.covariance()
    values, vectors = torch.linalg.eigh(s1)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    middle = root @ s2 @ root
    eigenvalues = torch.linalg.eigvalsh((middle + middle.T) / 2)
    gap = (first.mean() - second.mean()).square().sum()
    trace = s1.trace() + s2.trace() - 2 * eigenvalues.clamp_min(0).sqrt().sum()
    return float(gap + trace)
