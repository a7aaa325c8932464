"""In channels-last memory the blocks compute the same: values and gradients of the plain ones."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.models.blocks import Upsample
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.layout import is_channels_last
from ldm_ae.models.norm import NormSiLU
from ldm_ae.models.upsampling import upsampled_convolution, upsampling_kernel


def activations(dtype: torch.dtype = torch.float32, channels: int = 8) -> Tensor:
    x = torch.randn(2, channels, 6, 5, dtype=torch.float64) * 2 + 1
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def norm(dtype: torch.dtype = torch.float32) -> NormSiLU:
    layer = NormSiLU(2, 8).to(dtype)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def values_and_gradients(layer: nn.Module, x: Tensor, memory_format: torch.memory_format):
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape))
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [norm, lambda: Upsample(8)])
def test_values_and_gradients_are_those_of_the_plain_layer(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layer, x = make(), activations()
    fast = values_and_gradients(layer, x, torch.channels_last)
    plain = values_and_gradients(layer, x, torch.contiguous_format)
    for ours, stock in zip(fast, plain, strict=True):
        assert float((ours - stock).norm()) <= 1e-5 * float(stock.norm())
    assert is_channels_last(fast[0])


def test_gradient_of_the_norm() -> None:
    torch.manual_seed(0)
    layer = norm(torch.float64)

    def apply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(apply, (activations(torch.float64), layer.weight, layer.bias))


def test_gradient_of_the_upsampling() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, dtype=torch.float64)
    inputs = (activations(torch.float64, channels=2), conv.weight, conv.bias)
    assert torch.autograd.gradcheck(upsampled_convolution, inputs)


def test_taps_of_the_upsampling_kernel() -> None:
    """One channel by hand: an even output sees the inputs before it and at it."""
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    kernel = upsampling_kernel(weight)[0, 0]
    assert kernel.sum() == 4 * weight.sum()
    torch.testing.assert_close(kernel[0, 0], weight[0, 0, 2, 2])
    torch.testing.assert_close(kernel[1, 0], weight[0, 0, 1, 2] + weight[0, 0, 2, 2])
    torch.testing.assert_close(kernel[3, 3], weight[0, 0, 0, 0])


@pytest.mark.parametrize("make", [norm, lambda: Upsample(8)])
def test_bf16_is_as_accurate_as_the_plain_layer(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layer, x = make(), torch.randn(2, 8, 32, 32) * 2 + 1

    def errors(memory_format: torch.memory_format) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16):
            found = values_and_gradients(layer, x.bfloat16(), memory_format)
        return [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]

    exact = values_and_gradients(layer, x.bfloat16().float(), torch.contiguous_format)
    fast, plain = errors(torch.channels_last), errors(torch.contiguous_format)
    assert all(ours <= 1.5 * stock + 1e-3 for ours, stock in zip(fast, plain, strict=True))


@pytest.mark.parametrize("image_channels", [1, 3])
def test_a_model_in_channels_last_computes_the_same_with_the_same_state(
    image_channels: int,
) -> None:
    torch.manual_seed(0)
    coder = CoderConfig(image_channels, (8, 16), 1, norm_groups=4)
    model = build_model(KLConfig(coder=coder))
    images, keys = torch.rand(2, image_channels, 16, 16), torch.arange(2)

    def compute() -> list[Tensor]:
        model.zero_grad()
        output = model(images, keys).images
        output.square().sum().backward()
        return [output.detach(), *(p.grad.clone() for p in model.parameters())]  # type: ignore[union-attr]

    plain = compute()
    seen = []
    model.decoder.conv_norm_out.register_forward_hook(
        lambda _layer, inputs, _output: seen.append(is_channels_last(inputs[0]))
    )
    model.use_memory_format(torch.channels_last)
    for ours, stock in zip(compute(), plain, strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)
    assert seen == [True]
    assert all(value.is_contiguous() for value in model.state_dict().values())
    model.use_memory_format(torch.contiguous_format)
    assert all(map(torch.equal, compute(), plain))


def test_images_of_any_layout_pass_the_plain_model_alike() -> None:
    torch.manual_seed(0)
    model = build_model(KLConfig(coder=CoderConfig(3, (8, 8), 1, norm_groups=4)))
    images = torch.rand(1, 3, 16, 16)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.encode(images), model.encode(last))


def test_plain_norm_is_the_stock_one() -> None:
    layer, x = norm(), torch.randn(2, 8, 5, 5)
    assert torch.equal(layer(x), F.silu(F.group_norm(x, 2, layer.weight, layer.bias, 1e-6)))
