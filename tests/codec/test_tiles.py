import itertools

import pytest
import torch
import torch.nn.functional as F

from ldm_ae.codec import tiles


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr(tiles, "TILE_PIXELS", 32)
    monkeypatch.setattr(tiles, "OVERLAP_PIXELS", 8)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 57, 200])
def test_windows_cover_and_overlap(size: int) -> None:
    found = tiles.windows(size, 32, 8)
    assert found[0].start == 0 and found[-1].stop == size
    assert all(before.stop - after.start >= 8 for before, after in itertools.pairwise(found))
    assert all(window.stop - window.start == min(size, 32) for window in found)


@pytest.mark.parametrize("shape", [(64, 64), (68, 64), (4, 2000), (132, 96)])
def test_a_local_map_comes_out_the_same_in_tiles(shape: tuple[int, int]) -> None:
    """Pooling and repeating see one block alone, so tiles must not matter."""
    largest = 0

    def pool(images: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, images.shape[-1] * images.shape[-2])
        return F.avg_pool2d(images, 4)

    images = torch.rand(2, 3, *shape)
    latents = tiles.encode_tiles(pool, images, 4)
    assert torch.allclose(latents, F.avg_pool2d(images, 4), atol=1e-6)
    repeat = torch.nn.Upsample(scale_factor=4)
    assert torch.allclose(tiles.decode_tiles(repeat, latents, 4), repeat(latents), atol=1e-6)
    assert largest <= (32 * 32 if shape[0] * shape[1] > 64 * 64 else 64 * 64)


def test_seams_are_faded() -> None:
    """Tiles that disagree wholly: the picture passes from one to the next in small steps."""
    calls = itertools.count()

    def constant(codes: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 1, codes.shape[-2] * 4, codes.shape[-1] * 4), float(next(calls)))

    found = tiles.decode_tiles(constant, torch.zeros(1, 1, 1, 2000), 4)[0, 0, 0]
    assert found.max() > 50 and found.diff().abs().max() <= 0.3


@pytest.mark.parametrize("family", ["kl", "vq", "dvae"])
def test_a_large_picture_goes_through(codecs, picture, family: str) -> None:
    codec, image = codecs[family], picture(70, 101)
    data = codec.compress(image)
    assert codec.decompress(data).shape == image.shape
