import math

import pytest
import torch
from torch import Tensor, nn

from ldm_ae.losses.gan_losses import discriminator_loss, generator_loss, lecam, r1_penalty


def maps(*rows: list[float]) -> list[Tensor]:
    return [torch.tensor(row).view(-1, 1, 1, 1) for row in rows]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_hinge() -> None:
    real, fake = maps([2.0, 0.0]), maps([-3.0, 0.5])
    assert float(discriminator_loss("hinge", real, fake)) == 0.5 * (0.5 + 0.75)
    assert float(generator_loss("hinge", fake)) == 1.25


def test_the_logistic_losses_share_a_discriminator_and_differ_in_the_generator() -> None:
    real, fake = maps([2.0, 0.0]), maps([-3.0, 0.5])
    expected = 0.25 * (softplus(-2.0) + softplus(0.0) + softplus(-3.0) + softplus(0.5))
    for kind in ("vanilla", "non_saturating"):
        assert float(discriminator_loss(kind, real, fake)) == pytest.approx(expected)
    assert float(generator_loss("vanilla", fake)) == 1.25  # as LDM has it
    expected = 0.5 * (softplus(3.0) + softplus(-0.5))
    assert float(generator_loss("non_saturating", fake)) == pytest.approx(expected)


def test_maps_of_any_size_count_alike() -> None:
    small, large = torch.full((2, 1, 1, 1), 4.0), torch.full((2, 1, 8, 8), -1.0)
    assert float(generator_loss("hinge", [small, large])) == -1.5


def test_lecam_pulls_each_side_towards_the_others_anchor() -> None:
    real, fake = maps([1.0, -1.0], [0.0]), maps([0.5], [3.0])
    value = lecam(real, fake, torch.tensor([0.25, 2.0]), torch.tensor([0.0, -1.0]))
    first = (1.0**2 + 0.0) / 2 + 0.0  # only the first real logit lies above its anchor
    second = 1.0**2 + 0.0  # the fake lies above the real anchor
    assert float(value) == (first + second) / 2


def test_r1_of_a_linear_discriminator_is_its_squared_weight() -> None:
    network = nn.Conv2d(3, 1, 4, dtype=torch.float64)  # one logit for a 4 x 4 image
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    penalty = r1_penalty(lambda x: [network(x)], images)
    torch.testing.assert_close(penalty, network.weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, network.weight)
    torch.testing.assert_close(gradient, 2 * network.weight.detach())


def test_r1_is_a_mean_over_images_and_maps() -> None:
    def network(x: Tensor) -> list[Tensor]:
        logit = (x.square().sum(dim=(1, 2, 3)) / 2).view(-1, 1, 1, 1)
        return [logit, logit.expand(-1, 1, 3, 3)]  # gradient x, in both maps

    images = torch.randn(4, 1, 2, 2)
    expected = images.square().sum() / 4
    torch.testing.assert_close(r1_penalty(network, images), expected)
