from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError
from ldm_ae.data.transforms import centre_view, random_view


def coordinates(width: int, height: int) -> Image.Image:
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


def views(image: Image.Image, config: DataConfig, count: int = 300) -> np.ndarray:
    rngs = (np.random.default_rng(i) for i in range(count))
    return np.stack([random_view(image, config, rng) for rng in rngs]).astype(int)


def test_random_crops_are_unresampled_and_reach_every_place() -> None:
    config = DataConfig(path="x", size=8, crop="random", flip=False)
    crops = views(coordinates(12, 10), config)
    assert (np.diff(crops[..., 0], axis=2) == 1).all()
    assert (np.diff(crops[..., 1], axis=1) == 1).all()
    corners = {(int(c[0, 0, 0]), int(c[0, 0, 1])) for c in crops}
    assert corners == {(x, y) for x in range(5) for y in range(3)}


def test_flips_mirror_half_of_the_crops() -> None:
    config = DataConfig(path="x", size=8, crop="random")
    plain = views(coordinates(12, 10), DataConfig(path="x", size=8, crop="random", flip=False))
    crops = views(coordinates(12, 10), config)
    mirrored = np.diff(crops[..., 0], axis=2)[:, 0, 0] < 0
    assert 0.4 < mirrored.mean() < 0.6
    assert np.array_equal(crops[mirrored], plain[mirrored][:, :, ::-1])
    assert np.array_equal(crops[~mirrored], plain[~mirrored])


def test_resized_crops_span_the_stated_sizes_and_are_square() -> None:
    config = DataConfig(path="x", size=16, min_scale=0.25, flip=False)
    crops = views(coordinates(200, 100), config)
    # Along the middle row, red grows by side / 16 a pixel, and so does green along the column.
    side_x = (crops[:, 8, 12, 0] - crops[:, 8, 4, 0]) * 2
    side_y = (crops[:, 12, 8, 1] - crops[:, 4, 8, 1]) * 2
    assert np.abs(side_x - side_y).max() <= 4
    assert 46 <= side_x.min() <= 56  # sqrt(0.25) of 100
    assert 96 <= side_x.max() <= 104


def test_crops_are_not_enlarged_unless_the_image_is_smaller() -> None:
    config = DataConfig(path="x", size=64, min_scale=0.01, flip=False)
    crops = views(coordinates(90, 80), config, 50)
    assert (crops[:, :, 60, 0] - crops[:, :, 4, 0]).min() >= 55
    assert random_view(coordinates(40, 40), config, np.random.default_rng(0)).shape == (64, 64, 3)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 255  # the finest stripes: point sampling would keep them
    config = DataConfig(path="x", size=16, channels=1, min_scale=1.0)
    view = random_view(Image.fromarray(stripes), config, np.random.default_rng(0))
    assert view.shape == (16, 16, 1)
    assert np.abs(view[:, 2:-2].astype(int) - 127).max() <= 2


def test_validation_crops_are_centred() -> None:
    image = coordinates(200, 100)
    native = centre_view(image, DataConfig(path="x", size=20, validation_crop="centre"))
    assert native[0, 0].tolist() == [90, 40, 0]
    resized = centre_view(image, DataConfig(path="x", size=20)).astype(int)
    assert np.abs(resized[10, 10, :2] - [102, 52]).max() <= 1
    assert resized[0, 0, 0] >= 50
    assert resized[-1, -1, 0] <= 150
    with pytest.raises(BrokenImageError, match="short side 100"):
        centre_view(image, DataConfig(path="x", size=128, validation_crop="centre"))
