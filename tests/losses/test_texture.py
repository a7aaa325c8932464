import math

import pytest
import torch

from ldm_ae.losses.texture import texture_distance


def features(seed: int, deviation: float = 1.0, mean: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 24, 32, generator=generator) * deviation + mean


def test_equal_features_are_no_distance() -> None:
    assert texture_distance([features(0)], [features(0)]).item() == 0


def test_the_same_texture_elsewhere_is_closer_than_a_smooth_patch() -> None:
    """Squared error says the opposite: noise that is moved doubles it."""
    image, moved, smooth = features(0), features(1), torch.zeros(2, 3, 24, 32)
    texture = [texture_distance([other], [image]).item() for other in (moved, smooth)]
    squared = [(other - image).square().mean().item() for other in (moved, smooth)]
    assert texture[0] < 0.3 * texture[1]
    assert squared[0] > 1.8 * squared[1]


def test_it_is_the_moments_of_a_constant_pair() -> None:
    """Means 1 and 3 over the power 9, without deviation."""
    a, b = torch.full((1, 2, 8, 8), 1.0), torch.full((1, 2, 8, 8), 3.0)
    assert texture_distance([a], [b]).item() == pytest.approx(4 / 9, rel=1e-4)


def test_levels_weigh_the_same_whatever_their_power() -> None:
    a, b = features(0), features(1)
    once = texture_distance([a], [b]).item()
    assert texture_distance([a, 100 * a], [b, 100 * b]).item() == pytest.approx(once, rel=1e-3)


def test_small_levels_are_one_window_and_gradients_are_finite() -> None:
    a = torch.zeros(1, 2, 3, 1, requires_grad=True)
    distance = texture_distance([a], [torch.randn(1, 2, 3, 1)])
    distance.backward()
    assert math.isfinite(distance.item())
    assert a.grad is not None and torch.isfinite(a.grad).all()


def test_no_gradient_reaches_the_images() -> None:
    a, b = features(0).requires_grad_(), features(1).requires_grad_()
    texture_distance([a], [b]).backward()
    assert a.grad is not None and b.grad is None


def test_all_values_inside_weigh_the_same() -> None:
    """Else the gradient would draw the windows' grid into the pictures."""
    a = torch.ones(1, 1, 33, 33, dtype=torch.float64, requires_grad=True)
    texture_distance([a], [torch.zeros_like(a)]).backward()
    assert a.grad is not None
    inside = a.grad[..., 6:-6, 6:-6]
    assert (inside.amax() / inside.amin()).item() == pytest.approx(1, rel=1e-6)
