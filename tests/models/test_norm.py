"""Norms where the device does not mix types, as a GPU."""

import pytest
import torch
import torch.nn.functional as F

from ldm_ae.models import norm
from ldm_ae.models.blocks import AttentionBlock
from ldm_ae.models.norm import Norm, NormSiLU


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    group_norm = F.group_norm

    def unmixed(x, num_groups, weight, bias, eps):
        assert x.dtype == weight.dtype == bias.dtype
        return group_norm(x, num_groups, weight, bias, eps)

    monkeypatch.setattr(F, "group_norm", unmixed)
    monkeypatch.setattr(norm, "mixes_types", lambda x: False)


@pytest.mark.parametrize("kind", [Norm, NormSiLU])
@torch.no_grad()
def test_images_keep_their_type(strict: None, kind: type[Norm]) -> None:
    layer, x = kind(4, 16), torch.randn(2, 16, 5, 6)
    exact, found = layer(x), layer(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert float((found - exact).norm() / exact.norm()) < 0.01


@torch.no_grad()
def test_attention_in_bf16(strict: None) -> None:
    torch.manual_seed(0)
    block, x = AttentionBlock(16, 4), torch.randn(1, 16, 4, 4)
    exact = block(x)
    for layer in (block.to_q, block.to_k, block.to_v, *block.to_out):
        layer.bfloat16()
    found = block(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert float((found - exact).norm() / exact.norm()) < 0.02
