"""Fréchet distance between the features of two sets of images (Heusel et al. 2017).

d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), of features with means m and covariances S. Its
value hangs on the network, on the resizing and on the number of images, so it is compared only
within one setting, and beside the distance of two sets that are alike (the floor).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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
    """count: n. total: sum of features (d,). products: sum of outer products (d, d). float64.

    What is computed of them is kept: one set of originals is compared with many others.
    """

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

    @cached_property
    def mean(self) -> Tensor:
        return self.total / self.count

    @cached_property
    def covariance(self) -> Tensor:
        """(d, d), with n - 1. Raises UserError for fewer than two samples."""
        if self.count < 2:
            raise UserError(f"a covariance needs 2 or more images; got {self.count}")
        outer = torch.outer(self.mean, self.mean)
        return (self.products - self.count * outer) / (self.count - 1)

    @cached_property
    def root(self) -> Tensor:
        """The covariance's square root (d, d), symmetric."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
        return root


def frechet_distance(first: FeatureMoments, second: FeatureMoments) -> float:
    """Squared Fréchet distance of two Gaussians with these moments (Dowson and Landau 1982).

    tr (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is
    symmetric: no complex numbers arise. Raises UserError for fewer than two samples.
    """
    middle = first.root @ second.covariance @ first.root
    both = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp_min(0).sqrt().sum()
    gap = (first.mean - second.mean).square().sum()
    trace = first.covariance.trace() + second.covariance.trace() - 2 * both
    return float(gap + trace)
