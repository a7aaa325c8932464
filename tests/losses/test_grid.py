import pytest
import torch

from ldm_ae.losses.grid import grid_power


def photo(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_pattern_that_repeats_has_its_own_power_and_noise_hardly_any() -> None:
    image = photo()
    pattern = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.02
    pattern -= pattern.mean(dim=(2, 3), keepdim=True)
    woven = image + pattern.tile(1, 1, 8, 8)
    assert grid_power(woven, image, 8).item() == pytest.approx(pattern.square().mean().item())
    noise = image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    assert grid_power(noise, image, 8).item() < 0.05 * grid_power(woven, image, 8).item()


def test_an_error_of_brightness_is_no_pattern_and_pictures_count_by_themselves() -> None:
    image = photo()
    assert grid_power(image + 0.5, image, 8).item() == pytest.approx(0, abs=1e-9)
    pattern = torch.zeros(2, 3, 64, 64)
    pattern[0, :, ::8], pattern[1, :, ::8] = 0.1, -0.1  # cancel in the mean over pictures
    assert grid_power(image + pattern, image, 8).item() == pytest.approx(0.01 * 7 / 64, rel=1e-4)


def test_descending_it_removes_the_pattern_and_leaves_the_rest() -> None:
    image, wrong = photo(), torch.zeros(2, 3, 64, 64)
    wrong[..., ::4] = 0.1
    other = 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    output = (image + wrong + other).requires_grad_()
    (gradient,) = torch.autograd.grad(grid_power(output, image, 8), output)
    corrected = output.detach() - gradient * (2 * 3 * 64 * 64) / 2
    assert (corrected - image - other).std() < 0.15 * wrong.std()


@pytest.mark.parametrize(("shape", "period"), [((1, 3, 7, 64), 8), ((1, 3, 16, 16), 1)])
def test_without_a_whole_block_or_a_grid_there_is_none(shape, period: int) -> None:
    images = torch.rand(shape)
    assert grid_power(images + torch.rand(shape), images, period).item() == 0


def test_rows_and_columns_after_the_last_block_are_left_out() -> None:
    images = torch.zeros(1, 1, 19, 17)
    output = images.clone()
    output[..., 16:, :], output[..., 16:] = 1, 1
    assert grid_power(output, images, 8).item() == 0
