import pytest
import torch

from ldm_ae.losses.colour import colour_error


def flat(*colour: float) -> torch.Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 16, 16)


@pytest.mark.parametrize(
    ("colour", "error"),
    [((0.4, 0.4, 0.4), 0.0), ((0.2, -0.2, 0.0), 0.2), ((0.2, 0.2, -0.2), 0.2)],
)
def test_it_is_blind_to_brightness_and_sees_both_opponents(colour, error: float) -> None:
    found = colour_error(flat(*colour), torch.zeros(1, 3, 16, 16), 8)
    assert found.item() == pytest.approx(error, abs=1e-6)


def test_what_cancels_within_a_block_is_left_to_other_terms() -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 1, 16)
    error = colour_error(flat(0.4, -0.4, 0) * signs, torch.zeros(1, 3, 16, 16), 8)
    assert error.item() == pytest.approx(0, abs=1e-6)


def test_small_images_are_one_block_and_gradient_passes() -> None:
    output = torch.rand(1, 3, 4, 6, requires_grad=True)
    colour_error(output, torch.zeros(1, 3, 4, 6), 8).backward()
    assert output.grad is not None and float(output.grad.abs().max()) > 0
