import math

import pytest
import torch

from ldm_ae.inspection.numbers import (
    correlation,
    greatest_correlation,
    nats_from_normal,
    radial_spectrum,
    share_above,
    spectral_slope,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_standard_normal_latents_are_at_no_distance_from_it() -> None:
    assert nats_from_normal(noise(8, 3, 64, 64)) < 1e-3


@pytest.mark.parametrize(
    ("scale", "shift", "nats"),
    [(2.0, 0.0, 0.5 * (4 - 1 - math.log(4))), (1.0, 3.0, 4.5)],
    ids=["too wide", "not centred"],
)
def test_the_distance_is_that_of_two_gaussians(scale: float, shift: float, nats: float) -> None:
    assert nats_from_normal(noise(8, 3, 64, 64) * scale + shift) == pytest.approx(nats, rel=0.03)


def test_correlated_channels_are_seen_and_far_from_normal() -> None:
    latents = noise(4, 2, 64, 64)
    latents[:, 1] = (latents[:, 0] + latents[:, 1]) / math.sqrt(2)
    found = correlation(latents)
    assert torch.allclose(found.diagonal(), torch.ones(2, dtype=torch.float64))
    assert greatest_correlation(found) == pytest.approx(math.sqrt(0.5), abs=0.02)
    # -1/2 ln det of the correlation matrix, over two channels
    assert nats_from_normal(latents) == pytest.approx(-0.25 * math.log(0.5), rel=0.05)
    assert greatest_correlation(correlation(noise(1, 1, 8, 8))) == 0
    dead = torch.zeros(1, 2, 8, 8)
    assert torch.isfinite(correlation(dead)).all() and nats_from_normal(dead) > 1


def test_a_wave_stands_at_its_frequency() -> None:
    wave = torch.cos(2 * math.pi * 0.25 * torch.arange(64.0)).expand(1, 1, 64, 64)
    frequencies, powers = radial_spectrum(wave)
    assert frequencies[powers.argmax()] == pytest.approx(0.25, abs=0.01)
    assert frequencies.max() <= 0.5


def test_slopes_of_white_and_of_steep_noise() -> None:
    white = noise(16, 2, 64, 64)
    spectrum = radial_spectrum(white)
    assert spectral_slope(*spectrum) == pytest.approx(0, abs=0.1)
    assert share_above(*spectrum) == pytest.approx(0.75, abs=0.05)  # by area: 1 - (1/4 / 1/2)^2

    across, along = torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)
    radius = (across.square() + along.square()).sqrt().clamp(min=1 / 64)
    steep = torch.fft.ifft2(torch.fft.fft2(white) / radius).real
    assert spectral_slope(*radial_spectrum(steep)) == pytest.approx(-2, abs=0.25)
    assert share_above(*radial_spectrum(steep)) < 0.35
