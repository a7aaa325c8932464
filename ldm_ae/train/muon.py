"""Muon (Jordan et al. 2024) for convolutions, AdamW for the rest, as one optimizer.

The update of a weight matrix is its momentum, made orthogonal: all directions that the gradient
has move alike, and not only the few in which it is large. With few steps that is worth about
twice as many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz iteration: these coefficients raise small singular values fastest and leave
# all of them between 0.7 and 1.2 after five rounds (Jordan et al. 2024).
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95


def orthogonalize(matrix: Tensor) -> Tensor:
    """About U V^T of matrix (m, n) = U S V^T: singular values between 0.7 and 1.2."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix / (matrix.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(_ROUNDS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


class Muon(torch.optim.AdamW):
    """AdamW whose groups with `orthogonal=True` take Muon's step instead.

    Each group's learning rate is its own: Muon's is the size of an update in singular values
    (0.02 is usual), AdamW's the size of one in weights.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        every = self.param_groups
        for group in every:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step_matrix(parameter, group)
        try:
            self.param_groups = [group for group in every if not group["orthogonal"]]
            return super().step(closure)
        finally:
            self.param_groups = every

    def _step_matrix(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            state["step"] = torch.tensor(0.0)  # unused here, but AdamW looks for it on loading
        gradient = parameter.grad
        assert gradient is not None
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        # Nesterov's look ahead, then a convolution (out, in, k, k) as a matrix (out, in k k).
        update = orthogonalize(gradient.lerp(momentum, _MOMENTUM).flatten(1))
        rows, columns = update.shape
        scale = max(1.0, rows / columns) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)


def muon_groups(named: Iterable[tuple[str, nn.Parameter]], muon_lr: float) -> list[dict[str, Any]]:
    """Parameter groups: convolution kernels and matrices of linear layers by Muon; biases, norms,
    codebooks and the prior of a rate term, whose outputs are statistics, by AdamW."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        is_matrix = parameter.ndim >= 2 and "embedding" not in name and ".prior." not in name
        (matrices if is_matrix else others).append(parameter)
    return [
        {"params": matrices, "orthogonal": True, "lr": muon_lr},
        {"params": others, "orthogonal": False},
    ]
