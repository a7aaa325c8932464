"""Exponential moving average of a model's weights, in at least fp32."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """`model` is a copy in eval mode whose weights follow the trained ones.

    Buffers and frozen parameters that training moves (codebooks, counters) are handled like the
    rest: floating ones are averaged, integers copied.
    """

    def __init__(self, source: Model, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Update number `step`, from 0: average <- average + (1 - decay) (source - average)."""
        weight = 1 - ema_decay(step, self.decay)
        averaged, current = [], []
        state = source.state_dict()
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                averaged.append(value)
                current.append(state[name])
            else:
                value.copy_(state[name])
        torch._foreach_lerp_(averaged, current, weight)


def ema_decay(step: int, decay: float) -> float:
    """Decay of the averaged weights at a step: short memory at first, `decay` later."""
    return min(decay, (1 + step) / (10 + step))
