import math

import pytest
import torch
from torch import Tensor, nn

from ldm_ae.losses.gan_losses import discriminator_loss, generator_loss, lecam, r1_penalty


def logits(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_hinge() -> None:
    real, fake = logits(2.0, 0.0), logits(-3.0, 0.5)
    assert float(discriminator_loss("hinge", real, fake)) == 0.5 * (0.5 + 0.75)
    assert float(generator_loss("hinge", fake)) == 1.25


def test_the_logistic_losses_share_a_discriminator_and_differ_in_the_generator() -> None:
    real, fake = logits(2.0, 0.0), logits(-3.0, 0.5)
    expected = 0.25 * (softplus(-2.0) + softplus(0.0) + softplus(-3.0) + softplus(0.5))
    for kind in ("vanilla", "non_saturating"):
        assert float(discriminator_loss(kind, real, fake)) == pytest.approx(expected)
    assert float(generator_loss("vanilla", fake)) == 1.25  # as LDM has it
    expected = 0.5 * (softplus(3.0) + softplus(-0.5))
    assert float(generator_loss("non_saturating", fake)) == pytest.approx(expected)


def test_lecam_pulls_each_side_towards_the_others_anchor() -> None:
    real, fake = logits(2.0, -1.0), logits(0.5, -3.0)
    value = lecam(real, fake, torch.tensor([0.25]), torch.tensor([1.0]))
    # Only the first real logit lies above the fakes' anchor, the second fake below the reals'.
    assert float(value) == (2.0 - 1.0) ** 2 / 2 + (0.25 + 3.0) ** 2 / 2


def test_r1_of_a_linear_discriminator_is_its_squared_weight() -> None:
    network = nn.Conv2d(3, 1, 4, dtype=torch.float64)  # one logit for a 4 x 4 image
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    penalty = r1_penalty(network, images)
    torch.testing.assert_close(penalty, network.weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, network.weight)
    torch.testing.assert_close(gradient, 2 * network.weight.detach())


def test_r1_is_a_mean_over_images_and_of_mean_logits() -> None:
    def network(x: Tensor) -> Tensor:
        logit = (x.square().sum(dim=(1, 2, 3)) / 2).view(-1, 1, 1, 1)
        return logit.expand(-1, 1, 3, 3)  # gradient x, at every position

    images = torch.randn(4, 1, 2, 2)
    expected = images.square().sum() / 4
    torch.testing.assert_close(r1_penalty(network, images), expected)
