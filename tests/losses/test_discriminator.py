import pytest
import torch
from torch.nn.utils import parametrize

from ldm_ae.losses.discriminator import PatchDiscriminator, add_spectral_norm


@pytest.mark.parametrize(("num_layers", "field"), [(2, 34), (3, 70)])
def test_receptive_field(num_layers: int, field: int) -> None:
    network = PatchDiscriminator(base_channels=4, num_layers=num_layers, norm="none")
    images = torch.randn(1, 3, 128, 128, requires_grad=True)
    logits = network(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert images.grad is not None
    rows = images.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == field


@pytest.mark.parametrize("norm", ["group", "none"])
def test_one_image_is_judged_as_in_a_batch(norm: str) -> None:
    network = PatchDiscriminator(base_channels=8, norm=norm)
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(images[:1]), network(images)[:1])


def test_ldms_network_has_its_parameters() -> None:
    network = PatchDiscriminator(norm="batch")
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == 2_765_633
    )  # convolutions without bias, batch norms with two values a channel


def test_spectral_norm_leaves_a_largest_singular_value_of_one() -> None:
    network = PatchDiscriminator(base_channels=8, num_layers=1, norm="none")
    add_spectral_norm(network)
    for _ in range(50):
        network(torch.randn(1, 3, 16, 16))
    convolution = network.layers[2]
    assert parametrize.is_parametrized(convolution, "weight")
    largest = torch.linalg.svdvals(convolution.weight.detach().flatten(1))[0]
    assert float(largest) == pytest.approx(1.0, abs=0.02)
