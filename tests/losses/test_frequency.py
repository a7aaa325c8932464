import math

import pytest
import torch
import torch.nn.functional as F

from ldm_ae.losses.frequency import (
    FrequencyConfig,
    focal_frequency,
    frequency_terms,
    haar,
    high_pass,
)

TERMS = {"haar": "haar_weight", "focal_frequency": "focal_weight", "high_pass": "high_pass_weight"}


def test_haar_of_one_pixel_by_hand() -> None:
    error = torch.zeros(1, 1, 4, 4)
    error[..., 0, 0] = 1.0
    # Level 1: three details of 1/2, low band 1/2. Level 2: three of 1/4. Over 16 values.
    assert float(haar(error, 1, (1, 1, 1))) == pytest.approx(1.5 / 16)
    assert float(haar(error, 2, (1, 1, 1))) == pytest.approx((1.5 + 0.75) / 16)


def test_haar_bands_are_x_y_and_diagonal() -> None:
    x = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)  # changes along x only
    images = {"x": x, "y": x.transpose(2, 3), "both": x * x.transpose(2, 3)}
    for index, name in enumerate(images):
        bands = [float(haar(images[name], 1, torch.eye(3)[i].tolist())) for i in range(3)]
        assert bands == [0.5 if i == index else 0.0 for i in range(3)]


def test_haar_takes_odd_sides() -> None:
    error = torch.rand(1, 2, 6, 9)
    assert float(haar(error, 2, (1, 1, 1))) > 0


def test_focal_frequency_of_exponent_0_is_the_squared_error() -> None:
    error = torch.randn(2, 3, 8, 10)
    torch.testing.assert_close(focal_frequency(error, 0.0), error.square().mean())


def test_focal_frequency_of_two_waves_by_hand() -> None:
    positions = torch.arange(8) * 2 * math.pi / 8
    error = (torch.cos(positions) + 0.5 * torch.cos(2 * positions)).expand(1, 1, 8, 8)
    # |E| is 4 at two frequencies and 2 at two; the weights are 1 and 1/2.
    assert float(focal_frequency(error, 1.0)) == pytest.approx((2 * 16 + 2 * 4 / 2) / 64)


def test_focal_frequency_of_nothing_is_0_with_a_finite_gradient() -> None:
    error = torch.zeros(1, 1, 8, 8, requires_grad=True)
    value = focal_frequency(error, 1.0)
    value.backward()
    assert float(value.detach()) == 0 and torch.isfinite(error.grad).all()


def test_high_pass_is_blind_to_ramps_and_sees_a_pixel() -> None:
    ramp = torch.arange(16.0).expand(1, 3, 16, 16)
    assert float(high_pass(ramp, 1.0)) < 1e-5
    pixel = torch.zeros(1, 1, 7, 7)
    pixel[..., 3, 3] = 1.0
    peak = 1 / sum(math.exp(-i * i / 2) for i in range(-3, 4)) ** 2
    assert float(high_pass(pixel, 1.0)) == pytest.approx(1 - peak, rel=1e-5)


def test_high_pass_equals_the_blur_of_the_whole_image() -> None:
    error = torch.randn(2, 3, 12, 14)
    line = torch.exp(-0.5 * torch.arange(-6.0, 7.0).div(2).square())
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 13, 13)
    padded = F.pad(error, (6, 6, 6, 6), mode="replicate")
    residual = padded - F.conv2d(F.pad(padded, (6, 6, 6, 6)), kernel, groups=3)
    ours = high_pass(padded, 2.0)
    torch.testing.assert_close(ours, residual[..., 6:-6, 6:-6].abs().mean())


@pytest.mark.parametrize("name", TERMS)
def test_each_term_alone_has_a_gradient_and_is_least_at_the_image(name: str) -> None:
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    output = (torch.rand(1, 3, 16, 16) * 2 - 1).requires_grad_()
    config = FrequencyConfig(**{TERMS[name]: 0.5})
    ((found, weight, value),) = frequency_terms(config, output, images)
    value.backward()
    assert (found, weight) == (name, 0.5)
    assert float((output.grad != 0).double().mean()) > 0.5
    assert float(next(iter(frequency_terms(config, images, images)))[2]) == 0


def test_off_touches_nothing() -> None:
    assert list(frequency_terms(FrequencyConfig(), None, None)) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"haar_weight": -1}, "haar_weight=-1"),
        ({"haar_levels": 0}, "haar_levels=0"),
        ({"haar_bands": (0, 0, 0)}, "haar_bands"),
        ({"high_pass_sigma": 0}, "high_pass_sigma=0"),
    ],
)
def test_bad_values_are_named(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"loss\.frequency\.{message}"):
        FrequencyConfig(**setting)


def test_smallest_image_is_the_least_that_works() -> None:
    config = FrequencyConfig(haar_weight=1, haar_levels=2, high_pass_weight=1, high_pass_sigma=0.5)
    assert config.smallest_image == 5
    error = torch.randn(1, 1, 5, 5)
    assert all(torch.isfinite(value) for _, _, value in frequency_terms(config, error, error * 2))
