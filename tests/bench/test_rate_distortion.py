import numpy as np
import pytest
from skimage import data

from ldm_ae.bench.rate_distortion import (
    PillowCoder,
    Point,
    mean_points,
    measure_point,
    pixel_digest,
    to_tensor,
)
from ldm_ae.metrics.distortion import psnr
from ldm_ae.metrics.panel import open_panel

PHOTO = data.astronaut()[100:270, 100:280]


class Halved:
    """Loses the lowest bit; a byte per pixel and channel."""

    name = "halved"
    points = (Point("", 0),)

    def __init__(self) -> None:
        self.identity = {"kind": "test"}

    def encode(self, pixels, point: Point) -> bytes:
        return (pixels // 2).tobytes()

    def decode(self, file: bytes, point: Point):
        return np.frombuffer(file, np.uint8).reshape(PHOTO.shape) * 2


def test_a_row_has_the_files_bytes_and_the_scores() -> None:
    coder = Halved()
    original = open_panel(["psnr", "embedded"]).see(to_tensor(PHOTO))
    row = measure_point(coder, coder.points[0], PHOTO, original)
    assert row["num_bytes"] == PHOTO.size
    assert row["bpp"] == 24
    x, y = to_tensor(PHOTO), to_tensor(PHOTO // 2 * 2)
    assert row["psnr"] == pytest.approx(psnr(x, y).item())
    assert 0 < row["embedded"] < 0.1
    assert min(row["encode_seconds"], row["decode_seconds"]) > 0


def test_an_image_that_comes_back_otherwise_sized_is_refused() -> None:
    class Cropping(Halved):
        def decode(self, file: bytes, point: Point):
            return super().decode(file, point)[1:]

    with pytest.raises(ValueError, match="halved: .* came back as"):
        measure_point(Cropping(), Point("", 0), PHOTO, open_panel(["psnr"]).see(to_tensor(PHOTO)))


def test_means_are_plain_and_none_where_a_value_is_missing() -> None:
    def row(bpp: float, value: float | None) -> dict:
        keys = ("num_bytes", "psnr", "encode_seconds", "decode_seconds")
        keys += ("encode_cpu_seconds", "decode_cpu_seconds")
        return {"variant": "a", "quality": 3, "bpp": bpp, "ssim": value} | dict.fromkeys(keys, 1)

    points = mean_points([{"rows": [row(0.1, 0.2)]}, {"rows": [row(0.3, 0.4)]}])
    assert points[0]["bpp"] == pytest.approx(0.2)
    assert points[0]["ssim"] == pytest.approx(0.3)
    assert (points[0]["variant"], points[0]["quality"]) == ("a", 3)
    assert mean_points([{"rows": [row(0.1, None)]}, {"rows": [row(0.3, 0.4)]}])[0]["ssim"] is None


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "jpeg2000", "jxl"])
def test_files_grow_with_quality_and_come_back(format) -> None:
    if format == "jxl":
        pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
    coder, pixels = PillowCoder(format), PHOTO[:64, :80]
    first = [point for point in coder.points if point.variant == coder.points[0].variant]
    low, high = (coder.encode(pixels, point) for point in (first[0], first[-1]))
    assert len(low) < len(high)
    errors = [np.abs(coder.decode(f, first[0]).astype(int) - pixels).mean() for f in (low, high)]
    assert errors[1] < errors[0]
    assert coder.identity["versions"]


def test_the_digest_knows_pixels_and_shape() -> None:
    assert pixel_digest(PHOTO) == pixel_digest(PHOTO.copy())
    assert pixel_digest(PHOTO) != pixel_digest(PHOTO.transpose(1, 0, 2))
    assert pixel_digest(PHOTO) != pixel_digest(PHOTO // 2 * 2)
