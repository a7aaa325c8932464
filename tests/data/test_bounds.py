from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import EpsImagePlugin, Image

from ldm_ae.data.bounds import Bounds, BrokenImageError
from ldm_ae.data.images import load_image


@pytest.mark.parametrize("kind", ["EPS", "PCX", "SGI", "ICO"])
def test_formats_that_are_not_named_stay_closed(
    kind: str, tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("was started"))
    data = make.encoded(make.photo(0), kind)
    (tmp_path / "photo.jpg").write_bytes(data)
    for source in (data, tmp_path / "photo.jpg"):
        with pytest.raises(BrokenImageError, match="no format that is opened"):
            load_image(source)


def scanned(make: SimpleNamespace, kind: str, repeats: int) -> bytes:
    """A JPEG of 1000 x 1000 px whose last scan comes so many more times."""
    image = Image.new("L", (1000, 1000), 90)
    if kind == "progressive":
        whole = make.encoded(image.convert("RGB"), "JPEG", progressive=True)
    else:  # a scan for each component: three times that of a grey picture
        whole = make.encoded(image, "JPEG")
        frame = whole.index(b"\xff\xc0")
        components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
        header = b"\xff\xc0\x00\x11" + whole[frame + 4 : frame + 9] + b"\x03" + components
        scan = whole.index(b"\xff\xda")
        coded = whole[scan + 10 : -2]
        scans = [b"\xff\xda\0\x08\x01" + bytes([n]) + b"\0\0\x3f\0" + coded for n in (1, 2, 3)]
        whole = whole[:frame] + header + whole[frame + 13 : scan] + b"".join(scans) + whole[-2:]
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * repeats + whole[-2:]


@pytest.mark.parametrize("kind", ["progressive", "sequential"])
def test_a_jpeg_of_too_many_scans_is_refused(
    kind: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    usual, endless = scanned(make, kind, 0), scanned(make, kind, 1500)
    assert load_image(usual).shape == (1000, 1000, 3)
    (tmp_path / "photo.jpg").write_bytes(endless)
    for source in (endless, str(tmp_path / "photo.jpg")):
        with pytest.raises(BrokenImageError, match=r"in more than 1431 scans \(max_pixels\)"):
            load_image(source)
    less = Bounds(max_pixels=1_000_000)
    with pytest.raises(BrokenImageError, match="in more than 16 scans"):
        load_image(scanned(make, kind, 20), bounds=less)
    assert load_image(scanned(make, kind, 20)).shape == (1000, 1000, 3)


def long_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    size = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_sides_are_bounded_with_a_switch(size: tuple[int, int]) -> None:
    with pytest.raises(BrokenImageError, match=r"a side of more than 65535 pixels \(max_side\)"):
        load_image(long_png(*size))
    assert load_image(long_png(*size), bounds=Bounds(max_side=70_000)).shape[:2] == size[::-1]


def test_pixels_are_bounded_with_a_switch(
    make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow refuses more than twice as many
    photo = make.encoded(make.photo(0))  # 48 x 40
    for bounds in (Bounds(max_pixels=1919), Bounds(max_pixels=100)):
        with pytest.raises(BrokenImageError, match="more than (1919|100) pixels"):
            load_image(photo, bounds=bounds)
    assert load_image(photo, bounds=Bounds(max_pixels=1920)).shape == (40, 48, 3)
    assert Image.MAX_IMAGE_PIXELS == 500
    with pytest.raises(BrokenImageError, match="more than 100 pixels"):
        load_image(make.photo(0), bounds=Bounds(max_pixels=100))


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(BrokenImageError, match="is no file"):
            load_image(tmp_path / name)
