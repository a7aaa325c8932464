import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm_ae.codec.format.planes import join, open_picture, pack_alpha, split, unpack_alpha


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("I;16", 1), ("LA", 2), ("RGB", 3), ("P", 3), ("CMYK", 3), ("RGBA", 4)],
)
def test_channels_follow_the_mode(mode: str, channels: int, tmp_path: Path) -> None:
    image = Image.new(mode, (5, 4))
    found = open_picture(image)
    assert found.shape == (4, 5, channels) and found.dtype == np.uint8
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert open_picture(path).shape == found.shape
    assert open_picture(path.read_bytes()).shape == found.shape


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no format that is opened"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no format that is opened"):
        open_picture(b"nothing")


def test_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("L", (8, 4)).save(stream, "png", exif=exif)
    assert open_picture(stream.getvalue()).shape == (8, 4, 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_split_and_join(channels: int) -> None:
    image = np.random.default_rng(0).integers(1, 256, (4, 5, channels), dtype=np.uint8)
    planes = split(image)
    assert (planes.alpha is None) == (channels % 2 == 1)
    assert (join(planes) == image).all()
    assert (split(image[:, :, 0]).colour[:, :, 0] == image[:, :, 0]).all()


def test_hidden_colours_become_white() -> None:
    image = np.full((1, 2, 4), 7, dtype=np.uint8)
    image[0, 0, 3] = 0
    assert split(image).colour.tolist() == [[[255, 255, 255], [7, 7, 7]]]
    assert image[0, 0, 0] == 7, "the caller's picture is left alone"


@pytest.mark.parametrize("shape", [(3, 4, 5), (3,), (2, 2, 2, 2), (0, 4, 3), (4, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="image: "):
        split(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(ValueError, match="image: float"):
        split(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("kind", ["opaque", "mask", "noise", "clear"])
def test_alpha_comes_back(kind: str) -> None:
    rng = np.random.default_rng(0)
    alpha = {
        "opaque": np.full((9, 11), 255, dtype=np.uint8),
        "mask": (rng.random((9, 11)) < 0.5).astype(np.uint8) * 255,
        "noise": rng.integers(0, 256, (9, 11), dtype=np.uint8),
        "clear": np.zeros((9, 11), dtype=np.uint8),
    }[kind]
    packed = pack_alpha(alpha)
    assert (packed == b"") == (kind == "opaque")
    assert (unpack_alpha(packed, 9, 11) == alpha).all()


@pytest.mark.parametrize(
    "packed",
    [
        b"junk",
        zlib.compress(bytes(98)),
        zlib.compress(bytes(100)),
        zlib.compress(bytes(10**6)),
        zlib.compress(bytes(99))[:-2],
        zlib.compress(bytes(99)) + b"more",
    ],
)
def test_broken_alpha_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="alpha plane is corrupt"):
        unpack_alpha(packed, 9, 11)
