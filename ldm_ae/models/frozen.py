"""Convolutions that learn no more, as oneDNN computes them fastest on a CPU."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.models.layout import is_channels_last
from ldm_ae.models.upsampling import upsampled_convolution, upsampling_kernel

_PLAIN: tuple[Any, ...] = ("none", [], "")  # no activation after a convolution
_DOUBLED = ([1, 1], [0, 0], [2, 2], [1, 1], 1)  # padding, its output's, stride, dilation, groups


class FrozenConv2d(nn.Conv2d):
    """A convolution whose weights oneDNN keeps in its own layout, which it otherwise makes of them
    at every call, and which adds a residual while it writes. It computes so in channels-last
    memory on a CPU where no gradient is taken, and as nn.Conv2d elsewhere. Weights that change are
    read anew, but for changes behind torch's back, through `.data`: `forget` comes after those."""

    def __init__(self, layer: nn.Conv2d) -> None:
        """layer: whose parameters this one takes; one that `fits`."""
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
            device="meta",
        )
        self.weight, self.bias = layer.weight, layer.bias
        self._packs: dict[str, tuple[Tensor, Any, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x) if self._can_pack(x) else super().forward(x)

    def added_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + self(x), which may take the residual's place in memory."""
        learns = torch.is_grad_enabled() and residual.requires_grad
        alike = residual.dtype == x.dtype and is_channels_last(residual)
        if alike and not learns and self._can_pack(x):
            return self._added(residual, x)
        return self(x) + residual

    def upsampled(self, x: Tensor) -> Tensor:
        """self(repeat(x)) for a 3x3 convolution: (B, in, h, w) -> (B, out, 2h, 2w)."""
        if self._can_pack(x):
            return self._upsampled(x)
        return upsampled_convolution(x, self.weight, self.bias)

    def forget(self) -> None:
        """Read the weights anew at the next call."""
        self._packs.clear()

    def _can_pack(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        learns = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        alike = x.dtype == self.weight.dtype and is_channels_last(x)
        return alike and not learns and can_pack(x.dtype)

    @property
    def _form(self) -> tuple[Any, ...]:
        return self.padding, self.stride, self.dilation, self.groups

    def _convolved(self, x: Tensor) -> Tensor:
        weight = self._pack("convolution", self._packed, x)
        return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self._form, *_PLAIN)

    def _added(self, residual: Tensor, x: Tensor) -> Tensor:
        weight = self._pack("convolution", self._packed, x)
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, weight, self.bias, *self._form, "add", 1.0, None, [], None
        )

    def _upsampled(self, x: Tensor) -> Tensor:
        weight = self._pack("upsampling", self._packed_upsampling, x)
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            x, weight, self.bias, *_DOUBLED, *_PLAIN
        )

    def _packed(self, shape: list[int]) -> Tensor:
        return torch.ops.mkldnn._reorder_convolution_weight(
            self.weight.detach(), *self._form, shape
        )

    def _packed_upsampling(self, shape: list[int]) -> Tensor:
        kernel = upsampling_kernel(self.weight.detach()).contiguous()
        return torch.ops.mkldnn._reorder_convolution_transpose_weight(kernel, *_DOUBLED, shape)

    def _pack(self, name: str, make: Callable[[list[int]], Tensor], x: Tensor) -> Tensor:
        """What `make` made of the weights as they are now, for images like x first of all."""
        weight = self.weight
        state = weight.data_ptr(), None if weight.is_inference() else weight._version
        kept = self._packs.get(name)
        if kept is None or kept[0] is not weight or kept[1] != state:
            kept = self._packs[name] = (weight, state, make(list(x.shape)))
        return kept[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packs": {}}  # copies and files have the weights alone


def freeze_convolutions(network: nn.Module) -> None:
    """Every convolution of a network that `fits` becomes a FrozenConv2d."""
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.Conv2d and fits(layer):
                setattr(module, name, FrozenConv2d(layer))


def fits(layer: nn.Conv2d) -> bool:
    """Whether a convolution is a plain one: neither grouped nor dilated, padded by zeros if at
    all, with padding in numbers."""
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return plain and not isinstance(layer.padding, str)


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, which its public interface has not, and they compute on
    this processor what the public ones do. Tried once, in some milliseconds."""
    with torch.no_grad(), torch.random.fork_rng([]):
        layer = FrozenConv2d(nn.Conv2d(16, 16, 3, padding=1, device="cpu", dtype=dtype))
        x = torch.randn(1, 16, 8, 8, device="cpu").to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = layer.weight, layer.bias
        expected = F.conv2d(x, weight, bias, padding=1)
        doubled = upsampled_convolution(x, weight, bias)
        try:
            found = [layer._convolved(x), layer._added(x.clone(), x) - x, layer._upsampled(x)]
        except (AttributeError, RuntimeError):
            return False
        pairs = zip(found, [expected, expected, doubled], strict=True)
        return all(torch.allclose(a.float(), b.float(), 0.02, 0.05) for a, b in pairs)
