import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ldm_ae.data.images import to_float
from ldm_ae.metrics.distortion import psnr
from ldm_ae.metrics.judges import PixelJudge
from ldm_ae.metrics.panel import Panel, Scores, evaluate, mean_scores, open_panel
from ldm_ae.metrics.table import METRICS, QUICK


class Counting(PixelJudge):
    """Mean absolute difference; counts the images that it looks at."""

    def __init__(self) -> None:
        super().__init__(lambda x, y: (x.double() - y.double()).abs().mean(dim=(1, 2, 3)))
        self.seen = 0

    def see(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        return super().see(pixels)


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(20, 236, (3, 3, 168, 168), dtype=torch.uint8, generator=generator)


def darker(images: Tensor) -> Tensor:
    return images - 10 / 127.5


def test_rows_come_in_the_order_of_the_images(pixels: Tensor) -> None:
    images, panel = to_float(pixels), open_panel(QUICK)
    scores = evaluate(darker, [images[:2], images[2:]], panel)
    assert len(scores) == 3
    for row in scores:
        assert row.values["psnr"] == pytest.approx(20 * math.log10(255 / 10), abs=1e-9)
        assert list(row.values) == list(QUICK)
        assert row.reasons == {}
    assert scores[2] == evaluate(darker, [images[2:]], panel)[0] != scores[1]


def test_an_original_is_looked_at_once(pixels: Tensor) -> None:
    judge = Counting()
    original = Panel({"embedded": judge}, {}, torch.device("cpu")).see(pixels)
    for change in (1, 2):
        (first, *_) = original.scores(pixels + change)
        assert first.values == {"embedded": change}
    assert judge.seen == 3 * len(pixels)


def test_images_are_rounded_to_uint8_before_every_metric(pixels: Tensor) -> None:
    """Errors under half a grey level vanish, values outside [-1, 1] are clamped."""
    images, panel = to_float(pixels), open_panel(["psnr", "ssim"])
    (row,) = panel.score(images[:1], images[:1] + 0.4 / 127.5)
    assert row.values["psnr"] is None and "infinite" in row.reasons["psnr"]
    assert row.values["ssim"] == pytest.approx(1)
    white = torch.full_like(images[:1], 1.0)
    assert panel.score(white, white * 7)[0].values["psnr"] is None


def test_a_metric_that_cannot_be_had_is_none_with_its_reason(pixels: Tensor) -> None:
    judges = open_panel(QUICK).judges
    panel = Panel(judges, {"lpips_vgg": "the weights are out of reach"}, torch.device("cpu"))
    (row,) = evaluate(darker, [to_float(pixels[:1, :, :32, :32])], panel)
    assert row.values["psnr"] is not None and row.values["ssim"] is not None
    assert row.values["ms_ssim"] is None
    assert row.reasons["ms_ssim"] == "MS-SSIM takes 161 pixels a side or more; got 32 x 32"
    assert row.values["lpips_vgg"] is None
    assert row.reasons["lpips_vgg"] == "the weights are out of reach"
    assert panel.protocol()["lpips_vgg"] == "null: the weights are out of reach"


def test_means_are_of_the_per_image_values(pixels: Tensor) -> None:
    strengths = torch.tensor([2.0, 8.0, 32.0]).view(3, 1, 1, 1) / 127.5
    rows = evaluate(lambda batch: batch - strengths, [to_float(pixels)], open_panel(["psnr"]))
    values = psnr(pixels, pixels - torch.tensor([2, 8, 32], dtype=torch.uint8).view(3, 1, 1, 1))
    expected = values[:2].mean().item()
    assert mean_scores(rows[:2]).values["psnr"] == pytest.approx(expected, abs=1e-12)


def test_a_mean_over_images_of_which_one_has_no_value_is_none() -> None:
    good = Scores({"psnr": 30.0, "ms_ssim": 0.95})
    poor = Scores({"psnr": 20.0, "ms_ssim": None}, {"ms_ssim": "too small"})
    mean = mean_scores([good, poor])
    assert mean.values == {"psnr": 25.0, "ms_ssim": None}
    assert mean.reasons == {"ms_ssim": "1 of 2 images have none: too small"}
    assert mean_scores([poor, poor]).reasons == {"ms_ssim": "too small"}
    with pytest.raises(ValueError, match="no image"):
        mean_scores([])


def test_a_diverged_model_has_no_score(pixels: Tensor) -> None:
    panel = open_panel(["psnr"])
    with pytest.raises(ValueError, match="not finite"):
        evaluate(lambda images: images * math.nan, [to_float(pixels)], panel)
    with pytest.raises(ValueError, match="cannot be compared"):
        evaluate(lambda images: images[..., :-1], [to_float(pixels)], panel)


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ModuleNotFoundError("lpips not installed")

    monkeypatch.setitem(METRICS, "lpips_vgg", replace(METRICS["lpips_vgg"], open=missing))
    assert open_panel(["lpips_vgg"]).reasons == {"lpips_vgg": "lpips not installed"}


def test_names_that_are_not_in_the_table() -> None:
    with pytest.raises(ValueError, match="metric=lpips: there is no such metric; name one of psnr"):
        open_panel(["lpips"])
    with pytest.raises(ValueError, match="metric=frechet: is of sets of images"):
        open_panel(["frechet"])
