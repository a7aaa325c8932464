"""The distance between two stacks of features that LPIPS-like losses share.

With u = a / (|a| + eps) the features of one level, of unit length along the channels:

    level(a, b; w) = 1 / (H W) sum_hw sum_c w_c (u_c(a) - u_c(b))^2

(Zhang et al. 2018, arXiv:1801.03924, eq. 1), and a distance is the sum over levels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-10  # as in the lpips package


def unit_length(features: Tensor) -> Tensor:
    """(B, C, H, W) -> the same, of length 1 along C; 0 where all features are 0.

    `vector_norm` has gradient 0 at 0, where the gradient of sqrt(sum of squares) is NaN.
    """
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)


def level_distance(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """One level by plain autograd: features (B, C, H, W), weights (C,) -> distances (B,)."""
    return (unit_length(a) - unit_length(b)).square().mean(dim=(2, 3)) @ weights


class LevelDistance(torch.autograd.Function):
    """`level_distance` for frozen weights, with its gradient written out.

    A training step spends more time in memory here than in the backbone's convolutions; this
    halves it. With r = w * (u(a) - u(b)) and n = |a| + eps, for |a| >> eps:

        d level / d a = 2 / (H W n) (r - u(a) <u(a), r>)
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
        inverse_a, inverse_b = _inverse_norm(a), _inverse_norm(b)
        difference = (a * inverse_a).sub_(b * inverse_b)
        other = (b, inverse_b) if ctx.needs_input_grad[1] else (None, None)
        ctx.save_for_backward(a, inverse_a, *other, difference, weights)
        return (difference * difference).mean(dim=(2, 3)) @ weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, inverse_a, b, inverse_b, difference, weights = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_a = _feature_gradient(a, inverse_a, difference, weights, grad)
        if ctx.needs_input_grad[1]:
            grad_b = _feature_gradient(b, inverse_b, difference, weights, -grad)
        return grad_a, grad_b, None


def _inverse_norm(features: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return norm.add_(EPSILON).reciprocal_()  # (B, 1, H, W)


def _feature_gradient(
    features: Tensor, inverse: Tensor, difference: Tensor, weights: Tensor, grad: Tensor
) -> Tensor:
    scaled = difference * weights[None, :, None, None]
    along = (features * scaled).sum(dim=1, keepdim=True) * inverse.square()
    # All features 0: their norm has subgradient 0, and 1 / eps must not become a gradient.
    inverse = inverse.masked_fill(inverse >= 1 / EPSILON, 0)
    per_image = 2 / (features.shape[2] * features.shape[3]) * grad  # (B,)
    scaled.addcmul_(features, along, value=-1)
    return scaled.mul_(inverse * per_image[:, None, None, None])


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Sum over levels for frozen weights: lists of (B, C_l, H_l, W_l), of (C_l,) -> (B,)."""
    levels = [LevelDistance.apply(*triple) for triple in zip(a, b, weights, strict=True)]
    return torch.stack(levels).sum(dim=0)
