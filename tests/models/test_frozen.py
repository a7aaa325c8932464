"""Frozen convolutions compute what plain ones do, of the weights as they are."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from ldm_ae.models import frozen
from ldm_ae.models.blocks import ResnetBlock, Upsample
from ldm_ae.models.frozen import FrozenConv2d, can_pack, freeze_convolutions

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}
needs_packing = pytest.mark.skipif(
    not can_pack(torch.float32), reason="this torch or processor has no packed convolutions"
)


def last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).float().norm() / expected.float().norm())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("height", [8, 11])
@torch.no_grad()
def test_a_frozen_convolution_is_the_plain_one(dtype: torch.dtype, height: int) -> None:
    for layer in (nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(8, 12, 1), nn.Conv2d(8, 12, 3, 2)):
        layer = layer.to(dtype)
        for x in (last(2, 8, height, 9, dtype=dtype), last(1, 8, 2 * height, 5, dtype=dtype)):
            assert difference(FrozenConv2d(layer)(x), layer(x)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("widths", [(8, 8), (8, 16)])
@torch.no_grad()
def test_blocks_of_frozen_convolutions_are_the_plain_ones(
    dtype: torch.dtype, widths: tuple[int, int]
) -> None:
    block, upsample = ResnetBlock(*widths, 4), Upsample(8)
    for layer in [*block.convolutions(), upsample.conv, block.conv_shortcut]:
        if layer is not None:
            layer.to(dtype)
    x = last(2, 8, 6, 7, dtype=dtype)
    expected = block(x), upsample(x)
    freeze_convolutions(block)
    freeze_convolutions(upsample)
    assert all(isinstance(layer, FrozenConv2d) for layer in block.convolutions())
    doubled = upsample(x)
    for found, plain in zip((block(x), doubled), expected, strict=True):
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert difference(found, plain) < TOLERANCE[dtype]


@needs_packing
@torch.no_grad()
def test_changed_weights_are_packed_anew() -> None:
    layer = FrozenConv2d(nn.Conv2d(8, 8, 3, padding=1))
    x = last(1, 8, 6, 6)
    before, doubled = layer(x), layer.upsampled(x)
    assert len(layer._packs) == 2
    layer.weight.mul_(2)
    layer.bias.mul_(2)
    assert difference(layer(x), 2 * before) < 1e-6
    assert difference(layer.upsampled(x), 2 * doubled) < 1e-6
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    assert difference(layer(x), before) < 1e-6
    layer.weight.data.zero_()
    layer.forget()
    assert difference(layer(x), layer.bias.view(1, 8, 1, 1).expand_as(before)) < 1e-6
    layer.load_state_dict({"weight": torch.ones(8, 8, 3, 3), "bias": torch.zeros(8)})
    before = layer(x)
    layer.double()
    assert difference(layer(x.double()), before.double()) < 1e-6


@torch.no_grad()
def test_a_copy_and_a_file_of_it_work() -> None:
    layer = FrozenConv2d(nn.Conv2d(8, 8, 3, padding=1))
    x = last(1, 8, 6, 6)
    expected = layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for again in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        again.weight.mul_(1)
        assert torch.equal(again(x), expected) and set(again.state_dict()) == {"weight", "bias"}


def test_where_a_gradient_is_taken_it_is_a_plain_one() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    x, residual = last(1, 8, 6, 6).requires_grad_(), last(1, 8, 6, 6)
    kept = residual.clone()
    frozen_layer = FrozenConv2d(layer)
    frozen_layer.added_to(residual, x).sum().backward()
    ours, x.grad = x.grad, None
    layer(x).sum().backward()
    assert ours is not None and torch.equal(ours, x.grad)
    assert torch.equal(residual, kept) and frozen_layer.upsampled(x).requires_grad
    residual.requires_grad_()
    frozen_layer.added_to(residual * 2, x.detach()).sum().backward()
    assert torch.equal(residual.grad, torch.full_like(residual, 2))


def test_only_plain_convolutions_are_frozen() -> None:
    other = [
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 3, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding="same"),
    ]
    network = nn.Sequential(*other, nn.Conv2d(8, 8, 3, padding=1))
    freeze_convolutions(network)
    assert [isinstance(layer, FrozenConv2d) for layer in network] == [False] * 4 + [True]


@torch.no_grad()
def test_other_memory_types_and_torches_get_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    x = last(1, 8, 6, 6)
    expected = layer(x)
    assert torch.equal(FrozenConv2d(layer)(x.contiguous()), layer(x.contiguous()))
    monkeypatch.setattr(frozen, "can_pack", lambda dtype: False)
    unpacked = FrozenConv2d(layer)
    assert torch.equal(unpacked(x), expected) and torch.equal(unpacked.added_to(x, x), expected + x)
    assert not unpacked._packs


def test_a_torch_without_the_operators_cannot_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: FrozenConv2d, x: Tensor) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution'")

    monkeypatch.setattr(FrozenConv2d, "_convolved", gone)
    assert not can_pack.__wrapped__(torch.float32)

    def wrong(self: FrozenConv2d, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    monkeypatch.setattr(FrozenConv2d, "_convolved", wrong)
    assert not can_pack.__wrapped__(torch.float32)
