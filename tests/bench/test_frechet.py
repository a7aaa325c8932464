import numpy as np
import pytest
import torch
from skimage import data

from ldm_ae.bench.frechet import PATCH, frechet_rows, patches
from ldm_ae.bench.reconstruction import plain_codec


def colours(pixels: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) -> the mean of each channel of each quarter, (N, 12)."""
    return torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 2).flatten(1)


def test_patches_cover_an_image_in_steps_and_small_images_are_whole() -> None:
    image = data.astronaut()[:400, :512]
    found = patches(image)
    assert found.shape == (2 * 3, 3, PATCH, PATCH)
    assert np.array_equal(found[4].permute(1, 2, 0), image[128:384, 128:384])
    assert patches(image[:100]).shape == (1, 3, 100, 512)


def test_a_worse_file_is_farther_and_the_floor_is_that_of_the_halves() -> None:
    class Still:
        """The same photo, turned a little, so that both halves have samples."""

        def __init__(self, shift: int) -> None:
            self.shift = shift

        def pixels(self) -> np.ndarray:
            return np.roll(data.astronaut(), self.shift, axis=1)

    sources = [Still(shift) for shift in (0, 40, 80, 120)]
    jpeg = plain_codec("jpeg", 1, 90)
    ticks: list[int] = []
    coarse, fine = frechet_rows([jpeg], sources, colours, lambda: ticks.append(1))
    assert len(ticks) == 8
    assert 0 <= fine["frechet"] < coarse["frechet"]
    assert fine["floor"] == coarse["floor"] > 0
    assert fine["num_samples"] == 4 * 9
    sizes = [len(jpeg.encode(source.pixels(), jpeg.points[0])) for source in sources]
    assert coarse["bpp"] == pytest.approx(8 * np.mean(sizes) / 512**2)
    with pytest.raises(ValueError, match="1 image: a Fréchet distance needs more"):
        frechet_rows([jpeg], sources[:1], colours)
