"""silu(group_norm(x)) on a GPU in channels-last memory: values are read twice and written once.

The stock kernels go through contiguous memory and fp32. Here the type of x stays, sums are fp32,
and the gradient is made from x anew, so that nothing but x is kept for it. No atomics: the same
sums on every call. Wu and He 2018 (arXiv:1803.08494, eq. 1-2, 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from ldm_ae.models.triton_kernels import activate, differentiate, sum_slopes, sum_values

_TILE, _WARPS = 4096, 8  # values that a program holds, and its warps: 16 values a thread
_PROGRAMS = 1024  # that sum, at most


@dataclass(frozen=True)
class _Launch:
    """How the kernels walk over an x of (B, C, h, w)."""

    images: int
    channels: int
    positions: int

    @property
    def blocks(self) -> dict[str, int]:
        columns = triton.next_power_of_2(self.channels)
        return {"ROWS": max(_TILE // columns, 1), "COLUMNS": columns, "num_warps": _WARPS}

    @property
    def tiles(self) -> tuple[int, int]:
        return triton.cdiv(self.positions, self.blocks["ROWS"]), self.images

    def summed(self, kernel: Any, *arguments: Any) -> Tensor:
        """(2, B, C), fp32, of a kernel that sums parts of each image."""
        rows = self.blocks["ROWS"]
        programs = max(min(_PROGRAMS // self.images, self.tiles[0]), 1)
        part = triton.cdiv(triton.cdiv(self.positions, programs), rows) * rows
        grid = (triton.cdiv(self.positions, part), self.images)
        x, *others = arguments
        sums = x.new_empty(self.images, grid[0], 2, self.channels, dtype=torch.float32)
        given = (x, others[0], sums, *others[1:]) if others else (x, sums)
        kernel[grid](*given, self.positions, self.channels, part, **self.blocks)
        return sums.sum(1).transpose(0, 1)


class NormSiLUOnGPU(torch.autograd.Function):
    """x, in channels-last memory and fp32, bf16 or fp16; weight, bias (C,), num_groups, eps ->
    silu(group_norm(x)) in the same memory and type. The gradient can be taken once."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
    ) -> Tensor:
        batch, channels, height, width = x.shape
        launch = _Launch(batch, channels, height * width)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        with torch.cuda.device_of(x):  # Triton launches on the current one
            mean, rstd = _moments(launch, x, num_groups, eps)
            scale = (weight * rstd).contiguous()
            shift = torch.addcmul(bias, mean, scale, value=-1)
            activate[launch.tiles](
                x, y, scale, shift, launch.positions, launch.channels, **launch.blocks
            )
        ctx.save_for_backward(x, weight, mean, rstd, scale, shift)
        ctx.num_groups, ctx.launch = num_groups, launch
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With r = 1 / sigma and sums over the m values of a group, a = sum gamma dz and b = sum
        gamma dz (x - mu): dx = gamma r dz - b r^3 (x - mu) / m - a r / m."""
        x, weight, mean, rstd, scale, shift = ctx.saved_tensors
        launch = ctx.launch
        grad = grad.contiguous(memory_format=torch.channels_last)
        sums, products = launch.summed(sum_slopes, x, grad, scale, shift, mean)
        grad_x = None
        if ctx.needs_input_grad[0]:
            size = launch.positions * launch.channels / ctx.num_groups
            a, b = (_of_group(weight * found, ctx.num_groups) for found in (sums, products))
            of_x = -b * rstd**3 / size
            rest = -of_x * mean - a * rstd / size
            grad_x = torch.empty_like(x, memory_format=torch.channels_last)
            given = (scale, shift, scale, of_x, rest, launch.positions, launch.channels)
            differentiate[launch.tiles](x, grad, grad_x, *given, **launch.blocks)
        grad_weight = (products * rstd).sum(0).to(weight.dtype)
        return grad_x, grad_weight, sums.sum(0).to(weight.dtype), None, None


def _moments(launch: _Launch, x: Tensor, num_groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sigma of each channel's group, (B, C), fp32."""
    total, squares = launch.summed(sum_values, x) / launch.positions
    spread = squares - total.square()  # of each channel about its own mean
    means = total + x[:, :, 0, 0].float()
    width = launch.channels // num_groups
    mean = _of_group(means, num_groups) / width
    variance = _of_group(spread + (means - mean).square(), num_groups) / width
    return mean, torch.rsqrt(variance.clamp_min(0) + eps)


def _of_group(values: Tensor, num_groups: int) -> Tensor:
    """The sum over each channel's group, (B, C) -> (B, C)."""
    grouped = values.unflatten(1, (num_groups, -1))
    return grouped.sum(2, keepdim=True).expand_as(grouped).flatten(1)
