from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from ldm_ae.bench.coder import Point
from ldm_ae.bench.measure import mean_row, measure_coder, measure_point, why_not_reusable
from ldm_ae.bench.photos import Photo, to_tensor
from ldm_ae.metrics.distortion import ms_ssim, psnr
from ldm_ae.metrics.panel import Panel, open_panel

PHOTO = data.astronaut()[100:270, 100:280]


class Halved:
    """Loses the lowest bit; a byte per pixel and channel. The quality pads the file."""

    name = "halved"
    qualities = (0,)

    def __init__(self, *qualities: float, version: int = 1) -> None:
        self.points = [Point("v", quality) for quality in qualities or (0,)]
        self.identity = {"options": {"v": []}, "version": version}
        self.encoded = 0

    def encode(self, pixels, point: Point) -> bytes:
        self.encoded += 1
        self.shape = pixels.shape
        return bytes(int(point.quality)) + (pixels // 2).tobytes()

    def decode(self, file: bytes, point: Point):
        return np.frombuffer(file[int(point.quality) :], np.uint8).reshape(self.shape) * 2


def measure(coder: Halved, photos: list[Photo], panel: Panel, cache: Path) -> tuple[dict, int]:
    ticks: list[None] = []
    report = measure_coder(coder, photos, panel, cache, lambda: ticks.append(None))
    assert len(ticks) == len(photos) * len(coder.points)
    return report, coder.encoded


def test_a_row_has_the_files_bytes_and_the_scores(quick_panel: Panel) -> None:
    coder = Halved()
    row = measure_point(coder, coder.points[0], PHOTO, quick_panel.see(to_tensor(PHOTO)))
    assert row["num_bytes"] == PHOTO.size
    assert row["bpp"] == 24
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None] for p in (PHOTO.copy(), PHOTO // 2 * 2))
    assert row["psnr"] == pytest.approx(psnr(x, y).item())
    assert row["ms_ssim"] == pytest.approx(ms_ssim(x, y).item())
    assert min(row["encode_seconds"], row["decode_seconds"]) > 0


def test_every_null_has_its_reason_and_the_best_row_is_json_safe(
    quick_panel: Panel, photos: list[Photo]
) -> None:
    """A lossless coder has infinite PSNR, which JSON cannot hold."""

    class Lossless(Halved):
        def encode(self, pixels, point: Point) -> bytes:
            self.shape = pixels.shape
            return pixels.tobytes()

        def decode(self, file: bytes, point: Point):
            return np.frombuffer(file, np.uint8).reshape(self.shape)

    report = measure_coder(Lossless(), photos, quick_panel)
    for row in (report["points"][0], *(image["rows"][0] for image in report["images"])):
        assert row["psnr"] is None and "infinite" in row["reasons"]["psnr"]
        assert row["ms_ssim"] is None and "161 pixels" in row["reasons"]["ms_ssim"]
        assert row["ssim"] == pytest.approx(1)


def test_an_image_that_comes_back_otherwise_sized_is_refused(quick_panel: Panel) -> None:
    class Cropping(Halved):
        def decode(self, file: bytes, point: Point):
            return super().decode(file, point)[1:]

    with pytest.raises(ValueError, match="halved: .* came back as"):
        measure_point(Cropping(), Point("", 0), PHOTO, quick_panel.see(to_tensor(PHOTO)))


def test_means_are_plain_and_none_where_a_value_is_missing() -> None:
    def row(bpp: float, value: float | None) -> dict:
        keys = ("num_bytes", "encode_seconds", "decode_seconds")
        keys += ("encode_cpu_seconds", "decode_cpu_seconds")
        reasons = {} if value is not None else {"lpips_alex": "too small"}
        head = {"variant": "a", "quality": 3, "bpp": bpp, "lpips_alex": value, "reasons": reasons}
        return head | dict.fromkeys(keys, 1)

    point = mean_row([row(0.1, 0.2), row(0.3, 0.4)])
    assert point["bpp"] == pytest.approx(0.2)
    assert point["lpips_alex"] == pytest.approx(0.3)
    assert (point["variant"], point["quality"]) == ("a", 3)
    point = mean_row([row(0.1, None), row(0.3, 0.4)])
    assert point["lpips_alex"] is None and "1 of 2" in point["reasons"]["lpips_alex"]


def test_a_run_goes_on_where_it_stopped(
    photos: list[Photo], quick_panel: Panel, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first, encoded = measure(Halved(1, 2), photos, quick_panel, cache)
    assert encoded == 4
    sizes = [40 * 32 * 3 + 2, 33 * 21 * 3 + 2]
    assert first["points"][1]["num_bytes"] == sum(sizes) / 2
    again, encoded = measure(Halved(1, 2), photos, quick_panel, cache)
    assert (again, encoded) == (first, 0)
    assert measure(Halved(1, 2, 9), photos, quick_panel, cache)[1] == 2  # one more quality
    assert measure(Halved(1, 2, version=2), photos, quick_panel, cache)[1] == 4  # another coder
    assert measure(Halved(1), photos, open_panel(["psnr"]), cache)[1] == 2  # other metrics


def test_a_damaged_cache_is_measured_again(
    photos: list[Photo], quick_panel: Panel, tmp_path: Path
) -> None:
    measure(Halved(1), photos, quick_panel, tmp_path / "cache")
    for path in (tmp_path / "cache" / "halved").iterdir():
        path.write_text('{"key": ')
    assert measure(Halved(1), photos, quick_panel, tmp_path / "cache")[1] == 2


def test_other_pixels_are_measured_again(
    photos: list[Photo], quick_panel: Panel, tmp_path: Path
) -> None:
    measure(Halved(1), photos, quick_panel, tmp_path / "cache")
    Image.fromarray(data.coffee()[:16, :24]).save(photos[0].path)
    assert measure(Halved(1), photos, quick_panel, tmp_path / "cache")[1] == 1


def test_an_earlier_report_stands_only_for_the_same_run(
    photos: list[Photo], quick_panel: Panel, tmp_path: Path
) -> None:
    report, _ = measure(Halved(1, 2), photos, quick_panel, tmp_path / "cache")

    def reason(coder: Halved, some: list[Photo] = photos, panel: Panel = quick_panel) -> str:
        return why_not_reusable(report, coder, some, panel) or "reusable"

    assert reason(Halved(1, 2, version=2)) == "reusable"  # a newer Pillow: the report says which
    assert reason(Halved(1)) == "other qualities"
    assert reason(Halved(1, 2), photos[:1]) == "other images"
    assert reason(Halved(1, 2), panel=open_panel(["psnr"])) == "other metrics"
    other = Halved(1, 2)
    other.identity = {"options": {"v": [["speed", 1]]}}
    assert reason(other) == "other settings"
    missing = {"codec": "halved", "reason": "no such package", "points": []}
    assert "not be had" in (why_not_reusable(missing, Halved(1, 2), photos, quick_panel) or "")
