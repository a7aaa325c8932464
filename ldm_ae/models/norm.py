"""Group normalisation followed by SiLU, as every block of the encoder and the decoder begins."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ldm_ae.models.layout import has_fused_norm, is_channels_last

NORM_EPS = 1e-6


class Norm(nn.GroupNorm):
    """nn.GroupNorm that takes images of another type than its weights on every device, and keeps
    their type: torch does so on a CPU alone."""

    def __init__(self, num_groups: int, num_channels: int) -> None:
        super().__init__(num_groups, num_channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if x.dtype == weight.dtype or mixes_types(x) or torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        return super().forward(x.to(weight.dtype)).to(x.dtype)


def mixes_types(x: Tensor) -> bool:
    return x.device.type == "cpu"


class NormSiLU(Norm):
    """silu(group_norm(x)): (B, C, h, w) -> same; the parameters of nn.GroupNorm.

    Wu and He 2018 (arXiv:1803.08494, eq. 1-2, 6). On a CPU in channels-last memory the gradient is
    ours: torch's takes 20 times as long there with fewer than 16 channels a group. On a GPU in
    channels-last memory all of it is: torch's kernels would go through contiguous memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        # torch.compile fuses the stock one by itself.
        if has_fused_norm(x) and not torch.compiler.is_compiling():
            from ldm_ae.models.norm_triton import NormSiLUOnGPU  # triton is not on every machine

            return NormSiLUOnGPU.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        if not (torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)):
            return F.silu(super().forward(x), inplace=True)
        if is_channels_last(x):
            return _NormSiLU.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return F.silu(super().forward(x))


class _NormSiLU(torch.autograd.Function):
    """The stock forward pass, which is good in any layout, and a backward pass of few sweeps.

    With z = gamma (x - mu) r + beta, r = 1 / sigma, and over the m values of a group

        a = sum gamma dz,  b = sum gamma dz x,  c = (a mu - b) r^3 / m,
        dx = gamma r dz + c x - c mu - a r / m.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
    ) -> Tensor:
        batch, channels, height, width = x.shape
        normed, mean, rstd = torch.native_group_norm(
            x, weight, bias, batch, channels, height * width, num_groups, eps
        )
        ctx.save_for_backward(x, normed, weight, mean, rstd)
        return F.silu(normed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, normed, weight, mean, rstd = ctx.saved_tensors
        (batch, channels, height, width), num_groups = x.shape, mean.shape[1]
        grouped = (batch, num_groups, channels // num_groups)
        per_channel, num_values = (batch, channels, 1, 1), height * width * grouped[2]
        mean, rstd = mean[..., None], rstd[..., None]  # (B, G, 1), in at least fp32
        grad = torch.ops.aten.silu_backward(grad, normed)
        sums = grad.sum((2, 3), dtype=mean.dtype).view(grouped)
        products = (grad * x).sum((2, 3), dtype=mean.dtype).view(grouped)

        grad_x = None
        if ctx.needs_input_grad[0]:
            gamma = weight.view(1, *grouped[1:])
            a = (gamma * sums).sum(2, keepdim=True)
            b = (gamma * products).sum(2, keepdim=True)
            c = (a * mean - b) * rstd**3 / num_values
            of_grad, of_x, constant = (
                factor.expand(grouped).reshape(per_channel).to(x.dtype)
                for factor in (gamma * rstd, c, -c * mean - a * rstd / num_values)
            )
            grad_x = torch.addcmul(constant, x, of_x).addcmul_(grad, of_grad)
        grad_weight = ((products - sums * mean) * rstd).sum(0).view_as(weight)
        return grad_x, grad_weight, sums.sum(0).view_as(weight), None, None
