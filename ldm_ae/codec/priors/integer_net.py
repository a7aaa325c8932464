"""Layers that run in float to be fitted and in integers to be used.

In integers, activations count 1/256 and weights 1/4096. Both stay below 2^15 in magnitude and no
sum has more than 2^20 terms, so every partial sum stays below 2^50: float64 holds it exactly, and
a matrix product has one result whatever the order of its additions, the number of threads or the
machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.errors import UserError

ACTIVATION_ONE = 1 << 8
WEIGHT_ONE = 1 << 12
LIMIT = (1 << 15) - 1
_MAX_TERMS = 1 << 20

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Arithmetic:
    """one: the activation that stands for 1. limit: the largest activation. rescale: takes sums
    of weights times activations back to activations."""

    one: float
    limit: float
    rescale: Callable[[Tensor], Tensor]

    def clip(self, sums: Tensor) -> Tensor:
        """A layer's sums as activations."""
        return self.rescale(sums).clamp(-self.limit, self.limit)

    def rectify(self, sums: Tensor) -> Tensor:
        """ReLU of a layer's sums, as activations."""
        return self.rescale(sums).clamp(0, self.limit)


FLOAT = Arithmetic(1.0, LIMIT / ACTIVATION_ONE, lambda sums: sums)
# Rounds to nearest; dividing by a power of two is exact, and so is adding a half.
INTEGER = Arithmetic(ACTIVATION_ONE, LIMIT, lambda sums: (sums / WEIGHT_ONE + 0.5).floor())


def columns(planes: Tensor) -> Tensor:
    """Neighbourhoods of 3x3 of all but the outermost positions: (I, H + 2, W + 2) -> (9 I, H W)."""
    return F.unfold(planes[None], 3)[0]


def to_integers(weight: Tensor) -> np.ndarray:
    """A fitted weight -> int16, in 1/4096."""
    scaled = (weight.detach().double() * WEIGHT_ONE).round().clamp(-LIMIT, LIMIT)
    return scaled.to(torch.int16).numpy()


def from_integers(name: str, weight: np.ndarray) -> Tensor:
    """int16 -> the same integers in float64. Raises UserError for a weight whose sums might not
    be exact."""
    if weight.dtype != np.int16 or weight.shape[-1] > _MAX_TERMS or (weight < -LIMIT).any():
        raise UserError(
            f"prior: {name} is {weight.dtype} of shape {weight.shape}, expected int16 from"
            f" {-LIMIT} to {LIMIT} and at most {_MAX_TERMS} inputs"
        )
    return torch.from_numpy(weight.astype(np.float64))


def freeze(weights: Weights) -> Weights:
    """A fitted network as the integers that stand for it, in float64."""
    return {name: from_integers(name, to_integers(weight)) for name, weight in weights.items()}
