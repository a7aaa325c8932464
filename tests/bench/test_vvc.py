import sys

import numpy as np
import pytest
from skimage import data

from ldm_ae.bench.coder import Point
from ldm_ae.bench.image_codecs import MissingCodecError
from ldm_ae.bench.vvc import VVCCoder


@pytest.fixture(scope="module")
def coder() -> VVCCoder:
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    return VVCCoder([20])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 51), (1, 3)])
def test_pictures_of_any_size_come_back(coder: VVCCoder, height: int, width: int) -> None:
    pixels = data.astronaut()[100 : 100 + height, 100 : 100 + width]
    low, high = (Point("", quality) for quality in (10, 40))
    files = [coder.encode(pixels, point) for point in (low, high)]
    decoded = [coder.decode(file, low) for file in files]
    assert all(picture.shape == pixels.shape for picture in decoded)
    errors = [np.abs(picture.astype(int) - pixels).mean() for picture in decoded]
    assert errors[1] < 6
    if height == 64:
        assert len(files[0]) < len(files[1]) and errors[1] < errors[0]


def test_its_identity_says_which_ffmpeg(coder: VVCCoder) -> None:
    assert coder.points == [Point("", 20)]
    assert coder.identity["versions"]["ffmpeg"]


def test_a_file_that_is_none_is_refused(coder: VVCCoder) -> None:
    with pytest.raises(ValueError, match="vvc: ffmpeg failed"):
        coder.decode(b"\x10\x00\x10\x00 no bitstream", Point("", 20))


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingCodecError, match=r'imageio-ffmpeg .*pip install "ldm-ae\[vvc\]"'):
        VVCCoder()
