import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor

from ldm_ae.metrics.distortion import MS_SSIM_MIN_SIDE, ms_ssim, psnr, ssim


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """A photo and a noisy copy, uint8 (2, 3, 193, 177), the second pair noisier."""
    photo = torch.from_numpy(data.astronaut()[:193, :177]).permute(2, 0, 1)
    noise = torch.randn(2, 3, 193, 177, generator=torch.Generator().manual_seed(0))
    noisy = photo + noise * torch.tensor([8.0, 30.0]).view(2, 1, 1, 1)
    return photo.expand(2, -1, -1, -1), noisy.clamp(0, 255).round().to(torch.uint8)


def test_psnr_of_a_constant_error_is_analytic() -> None:
    x = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    assert psnr(x, x + 5).item() == pytest.approx(20 * math.log10(255 / 5), abs=1e-12)


def test_psnr_is_the_same_in_every_range(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    as_floats = psnr(x.double() / 127.5 - 1, y.double() / 127.5 - 1, data_range=2.0)
    assert torch.allclose(as_floats, psnr(x, y), rtol=0, atol=1e-10)


def test_ssim_is_scikit_images_on_the_valid_interior(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).numpy(),
            b.permute(1, 2, 0).numpy(),
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y).numpy(), expected, rtol=0, atol=1e-12)


def test_ssim_is_the_same_in_every_range_from_0(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    floats = [image.double() / 127.5 for image in pair]
    for metric in (ssim, ms_ssim):
        assert torch.allclose(metric(*floats, data_range=2.0), metric(x, y), rtol=0, atol=1e-12)
        with pytest.raises(ValueError, match="add 1 to images in"):
            metric(floats[0] - 1, floats[1] - 1, data_range=2.0)


def test_ms_ssim_of_constant_images_is_the_luminance_of_the_coarsest_scale() -> None:
    """Without structure every contrast term is 1, and so is the sum of its exponents but one."""
    x, y = (torch.full((1, 1, 176, 176), value, dtype=torch.uint8) for value in (100, 150))
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ms_ssim(x, y).item() == pytest.approx(luminance**0.1333, abs=1e-9)


def test_ms_ssim_ignores_what_only_the_finest_scale_sees(pair: tuple[Tensor, Tensor]) -> None:
    """A one-pixel checkerboard is gone after one mean: SSIM falls far, MS-SSIM hardly."""
    x = torch.full((1, 1, 192, 192), 128, dtype=torch.uint8)
    signs = (torch.arange(192)[:, None] + torch.arange(192)) % 2 * 2 - 1
    y = (x + 20 * signs).to(torch.uint8)
    weight_of_the_finest = 0.0448
    assert ssim(x, y).item() < 0.15
    assert ms_ssim(x, y).item() == pytest.approx(
        ssim(x, y).item() ** weight_of_the_finest, abs=1e-4
    )


def test_ms_ssim_is_that_of_pytorch_msssim() -> None:
    """0.868284 is what pytorch-msssim 1.0.0 gives, whose window is rounded to fp32."""
    x = torch.from_numpy(data.astronaut()[:176, :192]).permute(2, 0, 1)[None]
    y = x // 2 + x.roll(8, dims=3) // 2
    assert ms_ssim(x, y).item() == pytest.approx(0.868284, abs=3e-6)


@pytest.mark.parametrize("metric", [ssim, ms_ssim])
def test_equal_images_score_one_and_noise_lowers_the_score(metric, pair) -> None:
    x, y = pair
    assert torch.allclose(metric(x, x), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)
    mild, strong = metric(x, y).tolist()
    assert 1 > mild > strong > 0


def test_psnr_of_equal_images_is_infinite(pair: tuple[Tensor, Tensor]) -> None:
    assert psnr(pair[0], pair[0]).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_an_image_scores_the_same_alone_and_in_a_batch_and_both_ways(metric, pair) -> None:
    x, y = pair
    together = metric(x, y)
    assert together.dtype == torch.float64
    alone = torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(2)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-13)
    assert torch.allclose(together, metric(y, x), rtol=0, atol=1e-13)


def test_ms_ssim_stays_real_for_an_inverted_image(pair: tuple[Tensor, Tensor]) -> None:
    """The covariance of an image and its negative is below 0; its power would be NaN."""
    x, _ = pair
    assert ms_ssim(x, 255 - x).tolist() == [0.0, 0.0]


def test_too_small_images_are_refused_by_size() -> None:
    least = torch.zeros(1, 1, MS_SSIM_MIN_SIDE, 300, dtype=torch.uint8)
    assert MS_SSIM_MIN_SIDE == 161
    assert ms_ssim(least, least).item() == 1.0
    small = least[:, :, 1:]
    with pytest.raises(ValueError, match="at least 161 pixels a side; got 300 x 160"):
        ms_ssim(small, small)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(least[..., :10], least[..., :10])


def test_wrong_input_is_refused() -> None:
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"pass 2\.0 for images in \[-1, 1\]"):
        psnr(pixels.float(), pixels.float())
    with pytest.raises(ValueError, match="one shape and type"):
        psnr(pixels, pixels.float())
    with pytest.raises(ValueError, match="one shape and type"):
        psnr(pixels, pixels[..., :8])
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\)"):
        psnr(pixels[0], pixels[0])
