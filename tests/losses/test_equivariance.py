import pytest
import torch
import torch.nn.functional as F

from ldm_ae.losses.equivariance import EquivarianceConfig, Transform, draw_transform, resize


def test_the_transform_is_a_function_of_seed_and_step() -> None:
    config = EquivarianceConfig(probability=0.5)
    draws = [draw_transform(config, seed, step) for seed in (0, 1) for step in range(200)]
    assert draws == [draw_transform(config, seed, step) for seed in (0, 1) for step in range(200)]
    assert draws[:200] != draws[200:]
    made = [draw for draw in draws if draw is not None]
    assert 0.4 < len(made) / 400 < 0.6
    assert {transform.turns for transform in made} == {0, 1, 2, 3}
    scales = torch.tensor([transform.scale for transform in made])
    assert 0.25 <= float(scales.min()) < 0.35 and 0.9 < float(scales.max()) <= 1


def test_off_and_no_turns() -> None:
    assert draw_transform(EquivarianceConfig(), 0, 0) is None
    config = EquivarianceConfig(probability=1, rotate=False)
    assert {draw_transform(config, 0, step).turns for step in range(20)} == {0}


def test_latents_and_images_are_transformed_alike() -> None:
    """Latents that are the image's blocks remain so: turn, place and size agree."""
    latents = torch.rand(1, 1, 4, 6)
    images = latents.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    for turns in range(4):
        turned = Transform(1.0, turns)
        blocks = F.avg_pool2d(turned.images(images, 8), 8)
        torch.testing.assert_close(blocks, turned.latents(latents), atol=1e-6, rtol=0)
        half = Transform(0.5, turns)
        expected_size = (2, 3) if turns % 2 == 0 else (3, 2)
        assert half.latents(latents).shape[2:] == expected_size
        assert half.images(images, 8).shape[2:] == tuple(8 * side for side in expected_size)
    one_turn = Transform(1.0, 1).latents(latents)
    assert torch.equal(one_turn[0, 0, -1], latents[0, 0, :, 0])  # counter-clockwise


@pytest.mark.parametrize("size", [(5, 7), (12, 3), (16, 16)])
def test_resize_is_torchs_own_and_has_a_gradient(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    ours = resize(x, *size)
    theirs = F.interpolate(x, size, mode="bicubic", antialias=True)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    ours.square().sum().backward()
    assert float(x.grad.abs().min()) > 0


def test_smallest_image_is_what_the_transform_gives() -> None:
    config = EquivarianceConfig(probability=1, min_scale=0.3)
    smallest = Transform(0.3, 0).images(torch.zeros(1, 3, 64, 64), 8)
    assert config.smallest_image(64, 8) == smallest.shape[2] == 16
    assert EquivarianceConfig(min_scale=0.3).smallest_image(64, 8) == 64


@pytest.mark.parametrize("setting", [{"probability": 1.5}, {"min_scale": 0}])
def test_bad_values_are_named(setting: dict) -> None:
    with pytest.raises(ValueError, match=rf"loss\.equivariance\.{next(iter(setting))}="):
        EquivarianceConfig(**setting)
