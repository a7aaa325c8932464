import pytest
import torch

from ldm_ae.losses.unet_discriminator import UNetDiscriminator


def test_judges_the_whole_and_each_pixel() -> None:
    network = UNetDiscriminator(base_channels=4, num_layers=2)
    whole, pixels = network(torch.randn(2, 3, 16, 24))
    assert whole.shape == (2, 1, 4, 6)
    assert pixels.shape == (2, 1, 16, 24)


def test_sizes_that_do_not_halve_evenly_pass() -> None:
    network = UNetDiscriminator(base_channels=4, num_layers=3, norm="none")
    assert network(torch.randn(1, 3, 13, 10))[1].shape == (1, 1, 13, 10)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_every_weight_has_a_gradient(norm: str) -> None:
    network = UNetDiscriminator(base_channels=4, num_layers=2, norm=norm)
    whole, pixels = network(torch.randn(2, 3, 16, 16))
    (whole.mean() + pixels.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
