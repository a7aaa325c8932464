from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms

from ldm_ae.data.images import decode_image, load_image

# Adobe RGB (1998): XYZ of red, green and blue, adapted to D50; its gamma is 2.2.
WIDE = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
D50 = (0.9642, 1.0, 0.8249)
GAMMA = 2.2
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04, 6.1 and 6.2)."""
    header = bytearray(128)
    header[8:12] = struct.pack(">I", 0x02100000)
    header[12:24] = kind + space + pcs
    header[36:40] = b"acsp"
    header[68:80] = b"".join(struct.pack(">i", round(v * 65536)) for v in D50)
    place = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    header[0:4] = struct.pack(">I", place + len(content))
    return bytes(header) + table + content


def xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def wide_profile() -> bytes:
    columns = {name: xyz(tuple(WIDE[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(GAMMA))
    return profile(b"RGB ", b"mntr", b"XYZ ", {b"wtpt": xyz(D50), **columns, **curves})


def grey_profile(gamma: float = 1.0) -> bytes:
    return profile(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": xyz(D50), b"kTRC": curve(gamma)})


def ink_profile() -> bytes:
    """Of four inks of which only black is seen: lightness 100 without it, 0 with all of it."""
    ramp = bytes(range(256))
    corners = b"".join(bytes([0 if corner % 2 else 255, 128, 128]) for corner in range(16))
    matrix = struct.pack(">9i", *(round(v * 65536) for v in np.eye(3).flat))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + corners + ramp * 3
    return profile(b"CMYK", b"prtr", b"Lab ", {b"wtpt": xyz(D50), b"A2B0": lut})


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    linear = linear.clip(0, 1)
    high = 1.055 * linear ** (1 / 2.4) - 0.055
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, high)


def from_wide(pixels: np.ndarray) -> np.ndarray:
    srgb = np.array(  # XYZ of its primaries, adapted to D50
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    return encode_srgb((pixels / 255) ** GAMMA @ WIDE.T @ np.linalg.inv(srgb).T)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_wider_space_becomes_srgb(kind: str, make: SimpleNamespace) -> None:
    photo = make.photo(1)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = make.encoded(photo, kind, icc_profile=wide_profile(), **options)
    expected = from_wide(np.asarray(photo))
    assert np.abs(expected - np.asarray(photo)).mean() > 3  # what was wrong without it
    assert np.abs(load_image(data) - expected).max() <= 2
    again = Image.fromarray(load_image(data))
    assert np.array_equal(load_image(again), np.asarray(again))  # once is enough


def test_grey_of_another_gamma_stays_grey(make: SimpleNamespace) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    expected = encode_srgb(ramp / 255)
    data = make.encoded(Image.fromarray(ramp), icc_profile=grey_profile())
    for channels in (1, 3, None):
        found = load_image(data, channels)
        assert found.shape[2] == (channels or 1)
        assert np.abs(found - expected[..., None]).max() <= 2
    deep = make.encoded(Image.fromarray(ramp.astype(np.uint16) * 257), icc_profile=grey_profile())
    assert np.abs(load_image(deep, 1)[..., 0] - expected).max() <= 2


def test_inks_follow_their_profile(make: SimpleNamespace) -> None:
    inks = Image.merge("CMYK", [Image.new("L", (3, 1), 200)] * 3 + [Image.new("L", (3, 1))])
    inks.putpixel((1, 0), (200, 200, 200, 255))
    data = make.encoded(inks, "TIFF", icc_profile=ink_profile())
    found = load_image(data)[0]
    assert found[0].min() >= 254  # the other inks are not seen
    assert found[1].max() <= 1
    assert load_image(make.encoded(inks, "TIFF"))[0, 0].max() < 60  # Pillow's formula


def test_alpha_and_palettes_are_kept(make: SimpleNamespace) -> None:
    colour = (200, 60, 30)
    expected = from_wide(np.array(colour))
    clear = Image.new("RGBA", (2, 1), (*colour, 51))
    found = load_image(make.encoded(clear, icc_profile=wide_profile()), 4)[0, 0]
    assert np.abs(found[:3] - expected).max() <= 2
    assert found[3] == 51
    palette = Image.new("P", (2, 1))
    palette.putpalette([*colour, 0, 0, 0])
    palette.putdata([0, 1])
    data = make.encoded(palette, icc_profile=wide_profile(), transparency=1)
    found = load_image(data, 4)[0]
    assert np.abs(found[0, :3] - expected).max() <= 2
    assert found[:, 3].tolist() == [255, 0]
    grey = make.encoded(Image.new("LA", (1, 1), (55, 51)), icc_profile=grey_profile())
    assert np.abs(load_image(grey, None)[0, 0] - [encode_srgb(np.array(55 / 255)), 51]).max() <= 2


@pytest.mark.parametrize("other", [SRGB, b"no profile", SRGB[:200], grey_profile(), ink_profile()])
def test_srgb_and_what_cannot_be_applied_change_nothing(
    other: bytes, make: SimpleNamespace
) -> None:
    photo = make.photo(2)
    assert np.array_equal(load_image(make.encoded(photo, icc_profile=other)), np.asarray(photo))
    assert decode_image(make.encoded(photo, icc_profile=other)).info == {}
