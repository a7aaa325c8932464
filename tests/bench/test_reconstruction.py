from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.photos import Photo
from ldm_ae.bench.reconstruction import compare, fit_pcas, lines_of, missing_row, plain_codec
from ldm_ae.data.reading import Reader
from ldm_ae.metrics.panel import Panel
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)


def test_a_row_for_each_point_with_its_images(photos: list[Photo], quick_panel: Panel) -> None:
    model = RawLatents("mine", build_model(KLConfig(coder=CODER, latent_channels=5)).eval())
    jpeg, nothing = plain_codec("jpeg", 10, 50), plain_codec("webp")
    rows = compare([model, jpeg, nothing], photos, quick_panel)
    assert [row["name"] for row in rows] == ["mine", "jpeg-q10", "jpeg-q50"]
    first, second = rows[0]["images"]
    assert first["bpp"] == (16 * 5 * 20 * 16 + 32) / (40 * 32)
    assert first["compression_ratio"] == 24 / first["bpp"]
    assert rows[0]["bpp"] == pytest.approx((first["bpp"] + second["bpp"]) / 2)
    assert rows[0]["compression_ratio"] == pytest.approx(24 / rows[0]["bpp"])
    assert rows[0]["latent_channels"] == 5
    for row, point in zip(rows[1:], jpeg.points, strict=True):
        for image, photo in zip(row["images"], photos, strict=True):
            assert image["num_bytes"] == len(jpeg.encode(photo.pixels(), point))
    lines = {line.name: line.points for line in lines_of(rows, "psnr")}
    assert lines["jpeg"] == [(row["bpp"], row["psnr"]) for row in rows[1:]]
    assert len(lines["mine"]) == 1
    assert lines_of(rows, "ms_ssim") == []  # too small for it


def test_pcas_are_fitted_once_for_each_size_and_say_why_not(tmp_path: Path) -> None:
    Image.fromarray(data.coffee()[:40, :40]).save(tmp_path / "c.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    fitted, missing = fit_pcas([(4, 6), (4, 6), (8, 99)], tmp_path, Reader())
    assert [pca.name for pca in fitted] == ["pca-f4-c6"]
    assert fitted[0].facts()["num_fit_images"] == 1
    assert list(missing) == ["pca-f8-c99"] and "needs more than 99 patches" in missing["pca-f8-c99"]
    fitted, missing = fit_pcas([(4, 6)], None, Reader())
    assert fitted == [] and "--train-images" in missing["pca-f4-c6"]


def test_what_could_not_be_run_is_null_for_a_reason() -> None:
    row = missing_row("pca-f8-c4", ["psnr", "ssim"], "no training images")
    columns = {"psnr", "ssim", "bpp", "compression_ratio"}
    assert {key for key in row if row[key] is None} == set(row["reasons"]) == columns
