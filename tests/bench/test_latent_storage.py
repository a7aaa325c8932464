import numpy as np
import pytest

from ldm_ae.bench.latent_storage import ChannelRange, Storage, storages

SHAPE = (4, 16, 24)


@pytest.fixture
def latents() -> np.ndarray:
    """Smooth along the rows, as latents are, with a scale of its own in each channel."""
    generator = np.random.default_rng(0)
    values = np.cumsum(generator.normal(size=SHAPE), axis=2) / 5
    return (values * np.array([1, 2, 5, 0.1]).reshape(-1, 1, 1)).astype(np.float32)


@pytest.fixture
def ways(latents: np.ndarray) -> dict[str, Storage]:
    return {way.name: way for way in storages(SHAPE, ChannelRange.of([latents]))}


def test_each_way_gives_back_what_it_promises(latents: np.ndarray, ways) -> None:
    back = {name: way.load(way.save(latents)) for name, way in ways.items()}
    assert all(item.shape == SHAPE and item.dtype == np.float32 for item in back.values())
    assert np.array_equal(back["fp32"], latents)
    assert np.array_equal(back["npz of fp32"], latents)
    assert np.array_equal(back["fp16"], latents.astype(np.float16).astype(np.float32))
    assert np.array_equal(back["npz of fp16"], back["fp16"])
    for name in ("LZMA of int8", "WebP of int8, lossless"):
        assert np.array_equal(back[name], back["int8"])
    spread = latents.max(axis=(1, 2)) - latents.min(axis=(1, 2))
    error = np.abs(back["int8"] - latents).max(axis=(1, 2))
    assert (error <= spread / 255 * 0.501).all()
    errors = [np.abs(back[f"WebP of int8, quality {q}"] - latents).mean() for q in (95, 80)]
    assert np.abs(back["int8"] - latents).mean() < errors[0] < errors[1]


def test_sizes_are_those_of_files(latents: np.ndarray, ways) -> None:
    sizes = {name: len(way.save(latents)) for name, way in ways.items()}
    assert 4 * latents.size < sizes["fp32"] < 4 * latents.size + 200
    assert 2 * latents.size < sizes["fp16"] < 2 * latents.size + 200
    assert latents.size < sizes["int8"] < latents.size + 200
    assert sizes["WebP of int8, quality 80"] < sizes["WebP of int8, quality 95"] < sizes["int8"]


def test_a_constant_channel_survives() -> None:
    flat = np.full(SHAPE, 3.0, np.float32)
    channels = ChannelRange.of([flat])
    assert channels.to_latents(channels.to_bytes(flat)) == pytest.approx(flat, abs=1e-5)
