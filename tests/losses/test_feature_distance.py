"""The fused distance is the plain one, in value and gradient, also where autograd's is not."""

import pytest
import torch
from torch import Tensor

from ldm_ae.losses.feature_distance import LevelDistance, feature_distance, level_distance


def features(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=generator).requires_grad_()


WEIGHTS = torch.tensor([0.5, 0.0, 2.0, 1.0, 0.1], dtype=torch.float64)


def test_fused_equals_plain() -> None:
    a, b = features(0), features(1)
    torch.testing.assert_close(LevelDistance.apply(a, b, WEIGHTS), level_distance(a, b, WEIGHTS))


@pytest.mark.parametrize("live", ["a", "b", "both"])
def test_fused_gradient(live: str) -> None:
    a, b = features(0), features(1)
    a.requires_grad_(live != "b")
    b.requires_grad_(live != "a")
    assert torch.autograd.gradcheck(LevelDistance.apply, (a, b, WEIGHTS))


def test_gradient_is_finite_where_all_features_are_zero() -> None:
    a, b = features(0).detach(), features(1).detach()
    a[:, :, 0, 0] = 0
    a.requires_grad_()
    LevelDistance.apply(a, b, WEIGHTS).sum().backward()
    assert a.grad is not None and a.grad.isfinite().all()
    assert (a.grad[:, :, 0, 0] == 0).all()  # as the plain form has it, not 1 / epsilon
    assert (a.grad[:, :, 1, 1] != 0).any()


def test_sum_over_levels_by_hand() -> None:
    # One position, two channels: (1, 0) against (0, 1), then the same direction twice as long.
    a = [torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.ones(1, 2, 1, 1)]
    b = [torch.tensor([0.0, 5.0]).view(1, 2, 1, 1), 2 * torch.ones(1, 2, 1, 1)]
    weights = [torch.tensor([0.25, 0.5]), torch.ones(2)]
    torch.testing.assert_close(feature_distance(a, b, weights), torch.tensor([0.75]))
