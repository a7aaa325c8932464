import pytest
import torch

from ldm_ae.losses.discriminator import PatchDiscriminator


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
