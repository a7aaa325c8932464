"""Repetition and a 3x3 convolution as one transposed convolution, in 4/9 of the operations."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp import custom_fwd
from torch.autograd.function import once_differentiable


def upsampled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv(repeat(x), weight, bias) to rounding: (B, in, h, w) -> (B, out, 2h, 2w).

    weight: (out, in, 3, 3), padded by 1. The gradient can be taken once.
    """
    return _Transposed.apply(x, upsampling_kernel(weight), bias)


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel (in, out, 4, 4) of stride 2 and padding 1, from `weight` (out, in, 3, 3).

    Along one dimension an output sees two inputs: the taps (w0, w1, w2) fall on them as w0 and
    w1 + w2 where it is even, as w0 + w1 and w2 where it is odd.
    """
    taps = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    kernel = weight.flatten(2) @ torch.kron(taps, taps).T
    return kernel.unflatten(2, (4, 4)).transpose(0, 1)


class _Transposed(torch.autograd.Function):
    """F.conv_transpose2d whose bias has its gradient by a sum that is fast in channels-last: the
    stock one takes as long as the rest of the layer."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # under autocast only
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        twice, once, none = [2, 2], [1, 1], [0, 0]
        grad_x, grad_kernel, _ = torch.ops.aten.convolution_backward(
            grad, x, kernel, None, twice, once, once, True, none, 1, wanted
        )
        if not ctx.needs_input_grad[2]:
            return grad_x, grad_kernel, None
        sums = grad.sum((2, 3), dtype=torch.promote_types(grad.dtype, torch.float32))
        return grad_x, grad_kernel, sums.sum(0)
