from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.rate_distortion import Point
from ldm_ae.bench.rd_run import Photo, list_photos, measure_coder, why_not_reusable
from ldm_ae.metrics.panel import Panel, open_panel

PANEL = open_panel(["psnr"])


class Counting:
    """Stores pixels as they are and counts what it encodes; the quality pads the file."""

    name = "counting"

    def __init__(self, *qualities: float, version: int = 1) -> None:
        self.points = [Point("v", quality) for quality in qualities]
        self.identity = {"options": {"v": []}, "version": version}
        self.encoded = 0

    def encode(self, pixels, point: Point) -> bytes:
        self.encoded += 1
        return bytes(int(point.quality)) + pixels.tobytes()

    def decode(self, file: bytes, point: Point):
        return np.frombuffer(file[int(point.quality) :], np.uint8).reshape(16, 24, 3)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.fromarray(data.astronaut()[:16, :24]).save(tmp_path / "images" / "b.png")
    Image.fromarray(data.astronaut()[50:66, :24]).save(tmp_path / "images" / "deep" / "a.png")
    (tmp_path / "images" / "note.txt").write_text("not an image")
    return list_photos(str(tmp_path / "images"))


def measure(coder: Counting, photos: list[Photo], cache: Path) -> tuple[dict, int]:
    ticks: list[None] = []
    report = measure_coder(coder, photos, PANEL, cache, lambda: ticks.append(None))
    assert len(ticks) == len(photos) * len(coder.points)
    return report, coder.encoded


def test_photos_are_found_at_any_depth_in_order(photos: list[Photo]) -> None:
    assert [photo.name for photo in photos] == ["b.png", "deep/a.png"]
    assert [photo.name for photo in list_photos("embedded", 1)] == ["chelsea.png"]
    with pytest.raises(ValueError, match="--images=nowhere: no such folder"):
        list_photos("nowhere")


def test_a_run_goes_on_where_it_stopped(photos: list[Photo], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, encoded = measure(Counting(1, 2), photos, cache)
    assert encoded == 4
    assert first["points"][1]["num_bytes"] == 16 * 24 * 3 + 2
    again, encoded = measure(Counting(1, 2), photos, cache)
    assert (again, encoded) == (first, 0)
    assert measure(Counting(1, 2, 9), photos, cache)[1] == 2  # one more quality
    assert measure(Counting(1, 2, version=2), photos, cache)[1] == 4  # another coder


def test_a_damaged_cache_is_measured_again(photos: list[Photo], tmp_path: Path) -> None:
    measure(Counting(1), photos, tmp_path / "cache")
    for path in (tmp_path / "cache" / "counting").iterdir():
        path.write_text('{"key": ')
    assert measure(Counting(1), photos, tmp_path / "cache")[1] == 2


def test_other_pixels_are_measured_again(photos: list[Photo], tmp_path: Path) -> None:
    measure(Counting(1), photos, tmp_path / "cache")
    Image.fromarray(data.coffee()[:16, :24]).save(photos[0].path)
    assert measure(Counting(1), photos, tmp_path / "cache")[1] == 1


def test_an_earlier_report_stands_only_for_the_same_run(
    photos: list[Photo], tmp_path: Path
) -> None:
    report, _ = measure(Counting(1, 2), photos, tmp_path / "cache")

    def reason(coder: Counting, some: list[Photo] = photos, panel: Panel = PANEL) -> str:
        return why_not_reusable(report, coder, some, panel) or "reusable"

    assert reason(Counting(1, 2, version=2)) == "reusable"  # a newer Pillow: the report says which
    assert reason(Counting(1)) == "other qualities"
    assert reason(Counting(1, 2), photos[:1]) == "other images"
    assert reason(Counting(1, 2), photos, open_panel(["ssim"])) == "other metrics"
    other = Counting(1, 2)
    other.identity = {"options": {"v": [["speed", 1]]}}
    assert reason(other) == "other settings"
