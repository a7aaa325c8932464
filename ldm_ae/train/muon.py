"""Muon (Jordan et al. 2024) for convolutions, AdamW for the rest, as one optimizer.

The update of a weight matrix is its momentum, made orthogonal: all directions that the gradient
has move alike, and not only the few in which it is large. With few steps that is worth about
twice as many of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz iteration: these coefficients raise small singular values fastest and leave
# all of them between 0.7 and 1.2 after five rounds (Jordan et al. 2024).
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95


def orthogonalize(matrices: Tensor, in_bf16: bool = False) -> Tensor:
    """About U V^T of each of matrices (K, m, n) = U S V^T: singular values between 0.7 and 1.2,
    also if the products are `in_bf16`."""
    a, b, c = _NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    wide = wide.bfloat16() if in_bf16 else wide
    for _ in range(_ROUNDS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    wide = wide.to(matrices.dtype)
    return wide if x.shape[1] <= x.shape[2] else wide.mT


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
                self._step_matrices([p for p in group["params"] if p.grad is not None], group)
        try:
            self.param_groups = [group for group in every if not group["orthogonal"]]
            return super().step(closure)
        finally:
            self.param_groups = every

    def _step_matrices(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        gradients: list[Tensor] = []
        momenta: list[Tensor] = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
                state["step"] = torch.tensor(0.0)  # unused here, but AdamW looks for it on loading
            gradients.append(parameter.grad)
            momenta.append(state["momentum"])
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        # Nesterov's look ahead, then a convolution (out, in, k, k) as a matrix (out, in k k).
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        of_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter, update in zip(parameters, ahead, strict=True):
            matrix = update.flatten(1)
            of_shape[tuple(matrix.shape)].append((parameter, matrix))
        for (rows, columns), pairs in of_shape.items():
            updates = orthogonalize(torch.stack([m for _, m in pairs]), group["in_bf16"])
            rate = group["lr"] * max(1.0, rows / columns) ** 0.5
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-rate)


def muon_groups(
    named: Iterable[tuple[str, nn.Parameter]], muon_lr: float, in_bf16: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups: convolution kernels and matrices of linear layers by Muon; biases, norms,
    codebooks and the prior of a rate term, whose outputs are statistics, by AdamW.

    in_bf16: of Muon's matrix products; weights and momentum stay fp32.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        is_matrix = parameter.ndim >= 2 and "embedding" not in name and ".prior." not in name
        (matrices if is_matrix else others).append(parameter)
    return [
        {"params": matrices, "orthogonal": True, "lr": muon_lr, "in_bf16": in_bf16},
        {"params": others, "orthogonal": False},
    ]
