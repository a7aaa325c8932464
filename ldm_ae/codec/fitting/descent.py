"""The gradient descent that the context priors' networks are fitted by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ldm_ae.codec.fitting.examples import Examples
from ldm_ae.codec.priors.context_net import Shapes

_LEARNING_RATE = 3e-3
_WARMUP = 20


def initial_weights(shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """He et al. 2015 before a ReLU; zeros in whatever adds to the outputs."""
    random = ("first", "second", "head", "head_here")
    return {
        name: torch.randn(shape, generator=generator) * math.sqrt(2 / shape[1])
        if name in random
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }


def descend(
    parameters: Sequence[Tensor],
    examples: Sequence[Examples],
    bits: Callable[[int, Examples], Tensor],
    batch_size: int,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Fit parameters in place to the least mean of `bits` (of a network, for drawn examples)."""
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE, betas=(0.9, 0.99))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    for _ in range(steps):
        loss = torch.zeros(())
        for net, each in enumerate(examples):
            if len(each):
                loss = loss + each.share * bits(net, each.draw(batch_size, generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
    for parameter in parameters:
        parameter.requires_grad_(False)


def schedule(step: int, steps: int) -> float:
    """The factor on the learning rate: a short rise, then half a cosine."""
    return min(1.0, (step + 1) / _WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1)))
