import pytest
import torch
from torch import nn

from ldm_ae.losses.adaptive_weight import adaptive_weight


def test_equals_ldms_for_summed_losses() -> None:
    layer = nn.Linear(4, 6)
    output = layer(torch.randn(5, 4))
    mean_loss = output.abs().mean()
    adversarial = (output**2).mean()
    num_values = 6
    summed = output.abs().sum() / 5
    (top,) = torch.autograd.grad(summed, layer.weight, retain_graph=True)
    (bottom,) = torch.autograd.grad(adversarial, layer.weight, retain_graph=True)
    ldm = (top.norm() / (bottom.norm() + 1e-4)).clamp(0, 1e4)
    ours = adaptive_weight(mean_loss, adversarial, layer.weight, num_values)
    torch.testing.assert_close(ours * num_values, ldm)
    assert not ours.requires_grad


def test_is_clamped_in_summed_units() -> None:
    layer = nn.Linear(2, 2)
    output = layer(torch.randn(3, 2))
    weight = adaptive_weight(1e6 * output.abs().mean(), 1e-3 * output.mean(), layer.weight, 10)
    assert float(weight) == pytest.approx(1e4 / 10)
