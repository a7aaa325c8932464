"""Channels-last memory, in which the networks are computed fastest."""

import functools
from importlib.util import find_spec

import torch
from torch import Tensor, nn


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, h, w) is on a CPU and stored as (B, h, w, C), and not also as (B, C, h, w):
    where it is, blocks compute the same in fewer operations, to rounding."""
    return x.device.type == "cpu" and _is_last_alone(x)


def has_fused_norm(x: Tensor) -> bool:
    """Whether x is on a GPU and stored so, and of a type that the fused norm takes there."""
    fits = x.device.type == "cuda" and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return fits and _is_last_alone(x) and has_triton()


@functools.cache
def has_triton() -> bool:
    return find_spec("triton") is not None


def _is_last_alone(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def in_format(first: nn.Conv2d, x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """first(x) in the type of its weights and in a memory format, both of which every later layer
    keeps. Weights stay in the format that they have: one state serves both."""
    # Twice, for x with one channel has no format of its own.
    x = x.to(first.weight.dtype).contiguous(memory_format=memory_format)
    return first(x).contiguous(memory_format=memory_format)
