import hashlib
import itertools

import numpy as np
import pytest

from ldm_ae.codec.format.ladder import MAX_VALUE, STEPS, Scale, largest_symbol, step


def test_steps_never_change() -> None:
    # A file names its step by the place in this table.
    digest = hashlib.sha256(",".join(map(str, STEPS)).encode()).hexdigest()
    assert digest[:16] == "06974ace478a9f7d"
    assert len(STEPS) == 64 and STEPS[0] == 2048 and STEPS[-1] == 8
    assert all(coarse > fine for coarse, fine in itertools.pairwise(STEPS))


@pytest.mark.parametrize("quality", [-1, 64, 30.5])
def test_unknown_qualities_are_named(quality: int) -> None:
    with pytest.raises(ValueError, match=f"quality={quality}: use a whole number from 0"):
        step(quality)


@pytest.mark.parametrize("quality", [0, 31, 63])
def test_error_is_at_most_half_a_step(quality: int) -> None:
    latents = np.random.default_rng(0).normal(3, 2, (2, 5, 7)).astype(np.float32)
    scale = Scale(2 / 256, np.array([3.0, 2.5]))
    symbols = np.rint(scale.in_steps(latents, quality)).astype(np.int64)
    back = scale.latents(symbols, quality)
    assert back.dtype == np.float32
    assert np.abs(back - latents).max() <= step(quality) * scale.unit / 2 * (1 + 1e-6)


def test_huge_latents_are_clipped_and_broken_ones_refused() -> None:
    latents = np.array([1e30, -1e30, 0.0], dtype=np.float32).reshape(1, 1, 3)
    scale = Scale(1e-3, np.zeros(1))
    most = largest_symbol(63)
    assert most * step(63) <= MAX_VALUE < (most + 1) * step(63)
    assert scale.in_steps(latents, 63).ravel().tolist() == [most, -most, 0]
    latents[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        scale.in_steps(latents, 63)


@pytest.mark.parametrize(
    ("unit", "centre"), [(0.0, 0.0), (np.nan, 0.0), (-1.0, 0.0), (1.0, np.inf)]
)
def test_broken_scales_are_refused(unit: float, centre: float) -> None:
    with pytest.raises(ValueError, match="must be positive, and centre finite"):
        Scale(unit, np.array([centre]))
