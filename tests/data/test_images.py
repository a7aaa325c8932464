from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.data.bounds import BOUNDS
from ldm_ae.data.images import (
    BrokenImageError,
    decode_image,
    has_further_frames,
    load_image,
    pad_to_multiple,
    to_float,
    to_uint8,
)


def test_rgb_is_unchanged(make: SimpleNamespace) -> None:
    image = make.photo(0)
    assert np.array_equal(load_image(make.encoded(image)), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, make: SimpleNamespace) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # What a camera that holds this orientation stores for `upright`, written out by hand.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(load_image(data, 1)[:, :, 0], upright)


def test_unreadable_exif_counts_as_upright(make: SimpleNamespace) -> None:
    data = make.encoded(make.photo(1), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert load_image(data).shape == (40, 48, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str, make: SimpleNamespace) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], dtype=np.uint16)
    expected = [0, 0, 1, 1, 128, 254, 255, 255]  # round(v / 257)
    data = make.encoded(Image.fromarray(values), kind)
    assert load_image(data, 1)[0, :, 0].tolist() == expected
    assert load_image(data, 3)[0, :, 2].tolist() == expected


def test_big_endian_sixteen_bit_grey() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([0xFF, 0xFF, 0x80, 0x00]))
    assert load_image(image, 1)[0, :, 0].tolist() == [255, 128]


def test_thirty_two_bit_integers_are_read_as_sixteen_bit() -> None:
    image = Image.fromarray(np.array([[0, 65535, 25700]], dtype=np.int32))
    assert load_image(image, 1)[0, :, 0].tolist() == [0, 255, 100]
    with pytest.raises(BrokenImageError, match=r"mode I has values 0\.\.70000"):
        load_image(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_floats_are_read_as_zero_to_one(make: SimpleNamespace) -> None:
    data = make.encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)), "TIFF")
    assert load_image(data, 1)[0, :, 0].tolist() == [0, 128, 255]
    for bad in (2.0, float("nan")):
        with pytest.raises(BrokenImageError, match="mode F has values"):
            load_image(Image.fromarray(np.array([[0.0, bad]], dtype=np.float32)))


def test_one_bit_becomes_black_and_white(make: SimpleNamespace) -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert load_image(make.encoded(image))[0].tolist() == [[0] * 3, [255] * 3]


def test_palette_with_and_without_transparency(make: SimpleNamespace) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 50])
    image.putdata([0, 1])
    assert load_image(make.encoded(image))[0].tolist() == [[200, 10, 20], [30, 40, 50]]
    transparent = make.encoded(image, transparency=0)
    assert load_image(transparent)[0].tolist() == [[255] * 3, [30, 40, 50]]
    assert load_image(transparent, 4)[0, :, 3].tolist() == [0, 255]


def test_alpha_is_composited_over_white_or_kept(make: SimpleNamespace) -> None:
    colour = Image.new("RGBA", (1, 1), (255, 0, 0, 51))
    assert load_image(make.encoded(colour))[0, 0].tolist() == [255, 204, 204]
    assert load_image(make.encoded(colour), 4)[0, 0].tolist() == [255, 0, 0, 51]
    grey = Image.new("LA", (1, 1), (0, 51))
    assert load_image(make.encoded(grey), 1)[0, 0].tolist() == [204]
    assert load_image(make.encoded(grey), 4)[0, 0].tolist() == [0, 0, 0, 51]
    assert load_image(make.encoded(make.photo(0)), 4)[..., 3].min() == 255


def test_colour_key_transparency(make: SimpleNamespace) -> None:
    data = make.encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert load_image(data)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_colour_spaces_become_rgb(mode: str, make: SimpleNamespace) -> None:
    image = make.photo(2)
    data = make.encoded(image.convert(mode), "JPEG", quality=100, subsampling=0)
    assert np.abs(load_image(data).astype(int) - np.asarray(image)).mean() < 2
    assert load_image(data, 1).shape == (40, 48, 1)


def test_grey_from_colour_is_luma() -> None:
    assert load_image(Image.new("RGB", (1, 1), (255, 0, 0)), 1).item() == 76  # 0.299 * 255


def test_broken_data_is_one_kind_of_error(make: SimpleNamespace) -> None:
    for data in (make.truncated_jpeg(), make.encoded(make.photo(0))[:200], b"no image", b""):
        with pytest.raises(BrokenImageError):
            load_image(data)


def test_missing_file_is_named() -> None:
    with pytest.raises(BrokenImageError, match=r"nowhere\.png"):
        load_image("nowhere.png")


def test_too_many_pixels_are_refused_before_decoding(
    monkeypatch: pytest.MonkeyPatch, make: SimpleNamespace
) -> None:
    width, height = 20_000, 5_000  # 100 Mpx of zeros: a small file, a large image
    bomb = make.encoded(Image.new("1", (width, height)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BrokenImageError, match=f"more than {BOUNDS.max_pixels} pixels"):
        load_image(bomb)


def test_too_small_images_are_refused(make: SimpleNamespace) -> None:
    with pytest.raises(BrokenImageError, match=r"48x40 is too small.*41"):
        decode_image(make.encoded(make.photo(0)), min_side=41)
    assert decode_image(make.encoded(make.photo(0)), min_side=40).size == (48, 40)


def test_large_jpegs_are_decoded_smaller_but_not_below_enough(make: SimpleNamespace) -> None:
    data = make.encoded(make.photo(3, 800, 600), "JPEG")
    assert decode_image(data, enough_side=150).size == (200, 150)
    assert decode_image(data, enough_side=151).size == (400, 300)
    assert decode_image(data, enough_side=301).size == (800, 600)


def test_channels_must_be_known(make: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="channels=2"):
        load_image(make.encoded(make.photo(0)), 2)


def test_floats_and_back_are_exact(make: SimpleNamespace) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = to_float(pixels)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), pixels)
    array = load_image(make.encoded(make.photo(4)))
    assert torch.equal(to_uint8(to_float(array))[0], torch.tensor(array).permute(2, 0, 1))


def test_to_uint8_clamps_and_rounds() -> None:
    floats = torch.tensor([-3.0, -1.0, 0.6 / 127.5 - 1, 0.0, 1.0, 7.0])
    assert to_uint8(floats).tolist() == [0, 0, 1, 128, 255, 255]
    assert to_uint8(torch.tensor([1.0], dtype=torch.bfloat16)).item() == 255


def test_to_float_refuses_what_it_would_misread() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        to_float(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(H, W, C\)"):
        to_float(np.zeros((4, 4), dtype=np.uint8))


def test_padding_replicates_and_crops_back() -> None:
    x = torch.arange(2 * 3 * 5 * 7, dtype=torch.float32).reshape(2, 3, 5, 7)
    padded, (height, width) = pad_to_multiple(x, 8)
    assert padded.shape == (2, 3, 8, 8)
    assert torch.equal(padded[..., :height, :width], x)
    assert torch.equal(padded[..., 7, :7], x[..., 4, :])
    same, _ = pad_to_multiple(padded, 8)
    assert same is padded


def test_file_and_bytes_agree(tmp_path: Path, make: SimpleNamespace) -> None:
    make.photo(5).save(tmp_path / "x.webp", lossless=True)
    data = (tmp_path / "x.webp").read_bytes()
    assert np.array_equal(load_image(tmp_path / "x.webp"), load_image(data))
    assert np.array_equal(load_image(str(tmp_path / "x.webp")), load_image(data))


def test_an_exif_block_that_cannot_be_written_again_is_still_read(make: SimpleNamespace) -> None:
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x0100, 12, 1, 38)
    block = b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + struct.pack("<d", 0.5)
    data = make.encoded(make.photo(1), "JPEG", exif=b"Exif\0\0" + block)
    assert load_image(data).shape == (48, 40, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_further_frames_and_pages_are_noticed(kind: str, make: SimpleNamespace) -> None:
    one, other = make.photo(6), make.photo(7)
    several = make.encoded(one, kind, save_all=True, append_images=[other])
    first = decode_image(several)
    assert has_further_frames(first)
    assert not has_further_frames(decode_image(make.encoded(one, kind)))
    assert np.abs(np.asarray(first).astype(int) - np.asarray(one)).mean() < 20


def test_previews_of_a_phone_are_no_frames(make: SimpleNamespace) -> None:
    phone = make.encoded(make.photo(6), "MPO", save_all=True, append_images=[make.photo(7)])
    assert not has_further_frames(decode_image(phone))


def test_the_closest_mode_is_the_picture_s_own(make: SimpleNamespace) -> None:
    modes = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 3, "P": 3}
    for mode, channels in modes.items():
        kind = "TIFF" if mode == "CMYK" else "PNG"
        image = make.photo(3).convert(mode)
        assert load_image(make.encoded(image, kind), None).shape == (40, 48, channels)
    deep = Image.fromarray(np.full((4, 4), 257, dtype=np.uint16))
    assert load_image(make.encoded(deep), None)[0, 0].tolist() == [1]
    keyed = make.encoded(Image.new("L", (1, 1), 7), transparency=7)
    assert load_image(keyed, None)[0, 0].tolist() == [7, 0]
