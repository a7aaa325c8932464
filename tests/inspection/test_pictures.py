import pytest
import torch

from ldm_ae.inspection.pictures import chance, interpolations, latents_as_colours


def test_colours_show_the_directions_that_vary_most() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(5, 8, 8, generator=generator) * 0.01
    latents[4] = torch.linspace(0, 9, 8)  # along the width, and far above the rest
    (picture,) = latents_as_colours([latents], 4)
    assert picture.shape == (3, 32, 32) and picture.min() >= -1 and picture.max() <= 1
    assert torch.equal(
        picture[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2), picture
    )
    steps = picture[0, 0, ::4].diff()
    assert (steps > 0).all() or (steps < 0).all()


def test_few_channels_leave_colours_black_and_two_pictures_share_their_axes() -> None:
    ramp = torch.linspace(0, 1, 64).view(1, 8, 8)
    first, second = latents_as_colours([ramp, ramp], 1)
    assert torch.equal(first, second) and first[1:].abs().max() == 0


def test_interpolations_run_from_one_image_to_the_other(shrinking, images) -> None:
    found = interpolations(shrinking(), images[0], images[1], steps=3)
    assert torch.allclose(found[0], images[0]) and torch.allclose(found[2], images[1])
    assert torch.allclose(found[1], (images[0] + images[1]) / 2, atol=1e-6)


def test_chance_is_drawn_scaled_and_by_seed(shrinking) -> None:
    model = shrinking()
    model.scaling_factor, model.shift_factor = 0.25, 3.0
    found = chance(model, 4, 64, None, seed=1)
    (latents,) = model.decoded
    assert latents.shape == (4, 3, 32, 32) and found[0].shape == (3, 64, 64)
    assert latents.mean() == pytest.approx(3, abs=0.2) and latents.std() == pytest.approx(
        4, rel=0.05
    )
    again = chance(model, 4, 64, None, seed=1)
    assert torch.equal(found[0], again[0])


def test_codes_are_drawn_as_often_as_they_are_used(shrinking) -> None:
    model = shrinking()
    chance(model, 4, 64, torch.tensor([0, 3, 1, 0]))
    (indices,) = model.decoded
    shares = torch.bincount(indices.flatten(), minlength=4) / indices.numel()
    assert shares.tolist() == pytest.approx([0, 0.75, 0.25, 0], abs=0.03)
