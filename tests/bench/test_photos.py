from pathlib import Path

import pytest
from skimage import data

from ldm_ae.bench.photos import Photo, list_photos, pixel_digest, to_tensor
from ldm_ae.data.reading import Reader

PIXELS = data.astronaut()[:20, :30]


def test_photos_are_found_at_any_depth_in_order(photos: list[Photo], tmp_path: Path) -> None:
    assert [photo.name for photo in photos] == ["b.png", "deep/a.png"]
    assert photos[0].pixels().shape == (40, 32, 3)
    assert [photo.name for photo in list_photos("embedded", 1)] == ["chelsea.png"]
    with pytest.raises(ValueError, match="--images=nowhere: no such folder"):
        list_photos("nowhere")
    with pytest.raises(ValueError, match="--limit 0"):
        list_photos("embedded", 0)


def test_a_broken_image_is_named(photos: list[Photo]) -> None:
    photos[0].path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match="no format that is opened"):
        photos[0].pixels()  # it has become so since it was listed
    folder, reader = photos[0].path.parent, Reader()
    assert [photo.name for photo in list_photos(folder, reader=reader)] == [
        photo.name for photo in photos[1:]
    ]
    assert [path.name for path in reader.broken] == [photos[0].path.name]
    for photo in photos[1:]:
        photo.path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of its images can be used"):
        list_photos(folder)


def test_the_digest_knows_pixels_and_shape() -> None:
    assert pixel_digest(PIXELS) == pixel_digest(PIXELS.copy())
    assert pixel_digest(PIXELS) != pixel_digest(PIXELS.transpose(1, 0, 2))
    assert pixel_digest(PIXELS) != pixel_digest(PIXELS // 2 * 2)


def test_channels_come_first_in_a_tensor() -> None:
    tensor = to_tensor(PIXELS)
    assert tensor.shape == (1, 3, 20, 30)
    assert tensor[0, :, 4, 7].tolist() == PIXELS[4, 7].tolist()
