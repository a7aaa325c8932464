"""Channels-last memory, in which a CPU computes the networks fastest."""

import torch
from torch import Tensor, nn


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, h, w) is on a CPU and stored as (B, h, w, C), and not also as (B, C, h, w):
    where it is, blocks compute the same in fewer operations, to rounding."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return last and not x.is_contiguous() and x.device.type == "cpu"


def in_format(first: nn.Conv2d, x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """first(x) in the type of its weights and in a memory format, both of which every later layer
    keeps. Weights stay in the format that they have: one state serves both."""
    # Twice, for x with one channel has no format of its own.
    x = x.to(first.weight.dtype).contiguous(memory_format=memory_format)
    return first(x).contiguous(memory_format=memory_format)
