import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.compare import CodecMethod
from ldm_ae.bench.image_codecs import TUNED, ImageCodec, why_missing
from ldm_ae.data.images import load_image, to_float, to_uint8
from ldm_ae.metrics import distortion


@pytest.mark.parametrize("format", ["jpeg", "webp"])
@pytest.mark.parametrize("quality", [10, 90])
def test_the_file_is_pillows_own(format, quality: int) -> None:
    photo = data.astronaut()[:100, :90]
    codec = ImageCodec(format, quality)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, format=format, quality=quality)
    file = codec.encode(photo)
    assert file == buffer.getvalue()
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert np.array_equal(codec.decode(file), expected)
    assert codec.name == f"{format}-q{quality}"


def test_quality_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="jpeg quality=101: give 0 to 100"):
        ImageCodec("jpeg", 101)

    with pytest.raises(ValueError, match="jpeg2000 quality=0: give bits per pixel"):
        ImageCodec("jpeg2000", 0)


def test_jpeg_2000_spends_the_bits_it_is_told_to() -> None:
    photo = data.astronaut()[:256, :256]
    file = ImageCodec("jpeg2000", 0.5, TUNED["jpeg2000"][0].options).encode(photo)
    assert 8 * len(file) / 256**2 == pytest.approx(0.5, rel=0.05)


def test_jpeg_xl_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    reason = why_missing("jxl")
    assert reason is not None and "pillow-jxl-plugin" in reason
    with pytest.raises(ValueError, match="pillow-jxl-plugin.*leave that codec out"):
        ImageCodec("jxl", 50)


@pytest.mark.parametrize(
    ("codec", "psnr", "bpp"),
    [
        (ImageCodec("jpeg", 10), 26.67, 0.327),
        (ImageCodec("jpeg", 50), 32.17, 0.906),
        (ImageCodec("webp", 10), 29.15, 0.296),
    ],
)
def test_kodak_gives_the_known_points(shared_dir: Path, codec, psnr: float, bpp: float) -> None:
    """Means over the 24 photos of the per-image values."""
    decibels, rates = [], []
    for path in sorted((shared_dir / "data" / "kodak").glob("*.png")):
        image = to_float(load_image(path))
        reconstruction, bits = CodecMethod(codec).reconstruct(image)
        decibels.append(distortion.psnr(to_uint8(image), to_uint8(reconstruction)).item())
        rates.append(bits / image[0, 0].numel())
    assert len(rates) == 24
    assert np.mean(decibels) == pytest.approx(psnr, abs=0.01)
    assert np.mean(rates) == pytest.approx(bpp, abs=0.001)
