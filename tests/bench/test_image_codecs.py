import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.coder import Point
from ldm_ae.bench.image_codecs import TUNED, MissingCodecError, PillowCoder
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.reconstruction import plain_codec
from ldm_ae.metrics.panel import open_panel


@pytest.mark.parametrize("format", ["jpeg", "webp"])
@pytest.mark.parametrize("quality", [10, 90])
def test_the_plain_file_is_pillows_own(format, quality: int) -> None:
    photo = data.astronaut()[:100, :90]
    coder = plain_codec(format, quality)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, format=format, quality=quality)
    file = coder.encode(photo, coder.points[0])
    assert file == buffer.getvalue()
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert np.array_equal(coder.decode(file, coder.points[0]), expected)


@pytest.mark.parametrize("format", TUNED)
def test_files_grow_with_quality_and_come_back(format) -> None:
    if format == "jxl":
        pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
    coder, pixels = PillowCoder(format), data.astronaut()[100:164, 100:180]
    first = [point for point in coder.points if point.variant == coder.points[0].variant]
    low, high = (coder.encode(pixels, point) for point in (first[0], first[-1]))
    assert len(low) < len(high)
    errors = [np.abs(coder.decode(f, first[0]).astype(int) - pixels).mean() for f in (low, high)]
    assert errors[1] < errors[0]
    assert coder.identity["versions"]


def test_quality_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="jpeg quality=101: give 0 to 100"):
        plain_codec("jpeg", 101)
    with pytest.raises(ValueError, match="jpeg2000 quality=0: give bits per pixel"):
        plain_codec("jpeg2000", 0)
    with pytest.raises(ValueError, match="webp quality=-1"):
        plain_codec("webp", 5).encode(data.astronaut()[:8, :8], Point("", -1))


def test_jpeg_2000_spends_the_bits_it_is_told_to() -> None:
    coder = PillowCoder("jpeg2000")
    file = coder.encode(data.astronaut()[:256, :256], Point(coder.points[0].variant, 0.5))
    assert 8 * len(file) / 256**2 == pytest.approx(0.5, rel=0.05)


def test_jpeg_xl_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(MissingCodecError, match="pillow-jxl-plugin"):
        PillowCoder("jxl")


@pytest.mark.parametrize(
    ("format", "quality", "psnr", "bpp"),
    [("jpeg", 10, 26.67, 0.327), ("jpeg", 50, 32.17, 0.906), ("webp", 10, 29.15, 0.296)],
)
def test_kodak_gives_the_known_points(
    shared_dir: Path, format, quality: int, psnr: float, bpp: float
) -> None:
    """Means over the 24 photos of the per-image values."""
    photos = list_photos(shared_dir / "data" / "kodak")
    report = measure_coder(plain_codec(format, quality), photos, open_panel(["psnr"]))
    assert report["num_images"] == 24
    assert report["points"][0]["psnr"] == pytest.approx(psnr, abs=0.01)
    assert report["points"][0]["bpp"] == pytest.approx(bpp, abs=0.001)
