"""Single layers on strips of rows, with what lies above and below them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.models.blocks import Downsample, Upsample
from ldm_ae.models.norm import NormSiLU
from ldm_ae.models.rows import Activation
from ldm_ae.models.tiny_coders import TinyDownsample, TinyUpsample
from ldm_ae.models.upsampling import upsampling_kernel

Pointwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Form:
    """What a convolution makes of rows: for each `given` of them it takes `taken`, and looks so
    far beyond; left: columns of 0 that it sees before the first."""

    taken: int
    given: int
    above: int
    below: int
    left: int = 1


SAME, DOUBLED = Form(1, 1, 1, 1), Form(1, 2, 1, 1)
_HALVED, _HALVED_CENTRED = Form(2, 1, 0, 1, left=0), Form(2, 1, 1, 0)


def resampling(layer: nn.Module) -> tuple[Form, nn.Conv2d]:
    """Of a layer that halves or doubles."""
    if isinstance(layer, TinyDownsample):
        return _HALVED_CENTRED, layer
    if isinstance(layer, TinyUpsample):
        return DOUBLED, layer
    assert isinstance(layer, (Downsample, Upsample)), f"no strips for {type(layer).__name__}"
    return _HALVED if isinstance(layer, Downsample) else DOUBLED, layer.conv


def convolution(layer: nn.Conv2d, form: Form) -> Pointwise:
    """The layer on rows that have their halo above and below."""
    weight, bias = layer.weight, layer.bias
    if form is DOUBLED:
        kernel = upsampling_kernel(weight)
        return lambda x: F.conv_transpose2d(x, kernel, bias, stride=2, padding=(3, 1))
    if form is SAME:
        return lambda x: F.conv2d(x, weight, bias, padding=(0, 1))
    sides = (form.left, 1 - form.left)
    return lambda x: F.conv2d(F.pad(x, sides), weight, bias, stride=2)


def normalised(norm: nn.GroupNorm, x: Activation) -> Pointwise:
    """The norm with the statistics of the whole of x, and SiLU where it has one."""
    weight = norm.weight.to(torch.promote_types(norm.weight.dtype, torch.float32))
    moments = (part.to(weight) for part in x.moments.of_groups(norm.num_groups))
    mean, variance = moments
    bias, eps, activated = norm.bias.to(weight), norm.eps, isinstance(norm, NormSiLU)

    def normalise(rows: Tensor) -> Tensor:
        rows = F.batch_norm(rows, mean, variance, weight, bias, eps=eps)
        return F.silu(rows, inplace=True) if activated else rows

    return normalise
