import numpy as np
import pytest
import torch

from ldm_ae.export.statistics import measure_latents
from ldm_ae.export.uncertainty import ImageMoments
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.models.plain import PlainConfig

CENTRES, SPREADS = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 2.0])
SIGMA = 0.5


def drawn(num_images: int) -> tuple[torch.Tensor, DiagonalGaussian]:
    """Latents that are alike within an image: its level and its contrast are its own."""
    level = torch.randn(num_images, 2, 1, 1)
    contrast = torch.rand(num_images, 2, 1, 1)
    values = level + contrast * torch.randn(num_images, 2, 4, 4)
    latents = CENTRES.view(2, 1, 1) + SPREADS.view(2, 1, 1) * values
    return latents, DiagonalGaussian(latents, torch.full_like(latents, 2 * np.log(SIGMA)))


def test_intervals_hold_the_truth_in_19_of_20_cases() -> None:
    stds = (SPREADS.square() * (1 + 1 / 3) + SIGMA**2).sqrt()
    factor = float((stds.square().mean() + (CENTRES - CENTRES.mean()).square().mean()).rsqrt())
    hits = np.zeros(6)
    for _ in range(400):
        moments = ImageMoments()
        latents, posterior = drawn(150)
        moments.update(latents, posterior)
        found = moments.uncertainty(150)
        measured = latents.mean((0, 2, 3))
        measured_stds = (latents.var((0, 2, 3), correction=0) + SIGMA**2).sqrt()
        mean_off = (measured - CENTRES).abs() <= torch.tensor(found.channel_mean)
        std_off = (measured_stds - stds).abs() <= torch.tensor(found.channel_std)
        low, high = found.scaling_factor
        hits += [
            low <= factor <= high,
            abs(float(measured.mean() - CENTRES.mean())) <= found.mean,
            *mean_off,
            *std_off,
        ]
    assert (hits > 0.91 * 400).all(), hits / 400
    assert (hits < 0.98 * 400).all(), hits / 400


def test_crops_of_one_image_count_once(make_model, tiny_coder, images) -> None:
    model = make_model(PlainConfig(coder=tiny_coder))
    crops = images.repeat(8, 1, 1, 1)
    few = measure_latents(model, crops.split(4), num_different=10)
    many = measure_latents(model, crops.split(4))
    assert (few.num_images, few.num_different, many.num_different) == (16, 10, 16)
    assert few.uncertainty.mean == pytest.approx(many.uncertainty.mean * 1.6**0.5)
    low, high = few.uncertainty.scaling_factor
    assert low < few.scaling_factor < high
    assert low * high == pytest.approx(few.scaling_factor**2)
    assert measure_latents(model, crops.split(4), num_different=9).uncertainty is None
