import math

import pytest
import torch
from torch import Tensor, nn

from ldm_ae.data.images import to_float
from ldm_ae.losses.perceptual import PerceptualConfig
from ldm_ae.metrics.distortion import psnr
from ldm_ae.metrics.evaluate import ImageScores, evaluate, mean_scores, open_perceptual, score


class MeanDistance(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean(dim=(1, 2, 3))


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(20, 236, (3, 3, 168, 168), dtype=torch.uint8, generator=generator)


def darker(images: Tensor) -> Tensor:
    return images - 10 / 127.5


def test_rows_come_in_the_order_of_the_images(pixels: Tensor) -> None:
    images = to_float(pixels)
    scores = evaluate(darker, [images[:2], images[2:]], MeanDistance())
    assert len(scores) == 3
    for row in scores:
        assert row.psnr == pytest.approx(20 * math.log10(255 / 10), abs=1e-9)
        assert row.perceptual == pytest.approx(10 / 127.5, abs=1e-6)
        assert row.reasons == {}
    assert scores[2] == evaluate(darker, [images[2:]], MeanDistance())[0]


def test_images_are_rounded_to_uint8_before_every_metric(pixels: Tensor) -> None:
    """Errors under half a grey level vanish, values outside [-1, 1] are clamped."""
    images = to_float(pixels)
    (row,) = score(images[:1], images[:1] + 0.4 / 127.5, MeanDistance())
    assert row.psnr is None and "infinite" in row.reasons["psnr"]
    assert row.perceptual == 0.0 and row.ssim == pytest.approx(1)
    white = torch.full_like(images[:1], 1.0)
    (row,) = score(white, white * 7, MeanDistance())
    assert row.perceptual == 0.0


def test_a_metric_that_cannot_be_had_is_none_with_its_reason(pixels: Tensor) -> None:
    images = to_float(pixels[:1, :, :32, :32])
    (row,) = evaluate(darker, [images], None, "the weights are out of reach")
    assert row.psnr is not None and row.ssim is not None
    assert row.ms_ssim is None and "161 pixels" in row.reasons["ms_ssim"]
    assert row.perceptual is None and row.reasons["perceptual"] == "the weights are out of reach"


def test_means_are_of_the_per_image_values(pixels: Tensor) -> None:
    images = to_float(pixels)
    strengths = torch.tensor([2.0, 8.0, 32.0]).view(3, 1, 1, 1) / 127.5
    rows = evaluate(lambda batch: batch - strengths, [images])
    values = psnr(pixels, pixels - torch.tensor([2, 8, 32], dtype=torch.uint8).view(3, 1, 1, 1))
    assert mean_scores(rows[:2]).psnr == pytest.approx(values[:2].mean().item(), abs=1e-12)


def test_a_mean_over_images_of_which_one_has_no_value_is_none() -> None:
    good = ImageScores(30.0, 0.9, 0.95, 0.1)
    poor = ImageScores(20.0, 0.7, None, 0.3, {"ms_ssim": "too small"})
    mean = mean_scores([good, poor])
    assert mean.psnr == 25.0 and mean.perceptual == pytest.approx(0.2)
    assert mean.ms_ssim is None
    assert mean.reasons == {"ms_ssim": "1 of 2 images have none: too small"}
    with pytest.raises(ValueError, match="no image"):
        mean_scores([])


def test_a_diverged_model_has_no_score(pixels: Tensor) -> None:
    with pytest.raises(ValueError, match="not finite"):
        evaluate(lambda images: images * math.nan, [to_float(pixels)])
    with pytest.raises(ValueError, match="cannot be compared"):
        evaluate(lambda images: images[..., :-1], [to_float(pixels)])


def test_a_perceptual_network_that_cannot_be_had_is_a_reason_and_not_another_network() -> None:
    config = PerceptualConfig("squeeze", "/no/such/file.safetensors")
    network, reason = open_perceptual(config)
    assert network is None and "/no/such/file.safetensors" in reason
    assert open_perceptual(PerceptualConfig("none"))[0] is None
