import numpy as np
import pytest

from ldm_ae.bench.artefacts import PERIODS, artefacts_of


def grey(height: int = 256, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def with_error(error: np.ndarray) -> np.ndarray:
    return np.clip(128 + np.round(error)[..., None], 0, 255).repeat(3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("period", PERIODS)
def test_a_woven_texture_stands_out_at_its_period_alone(period: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (256, 320))
    wave = 3 * np.cos(2 * np.pi * np.arange(320) / period)
    excess = artefacts_of([(grey(), with_error(noise + wave))]).grid_excess()
    assert excess[period] > 1
    assert all(abs(excess[other]) < 0.2 for other in PERIODS if other != period)


def test_both_directions_count() -> None:
    wave = np.round(9 * np.cos(2 * np.pi * np.arange(320) / 8))
    noise = np.random.default_rng(0).normal(0, 6, (320, 320))
    across = artefacts_of([(grey(320), with_error(noise + wave))]).grid_excess()[8]
    down = artefacts_of([(grey(320), with_error((noise + wave).T))]).grid_excess()[8]
    assert across == pytest.approx(down) and across > 1


def test_small_pictures_have_no_spectrum() -> None:
    assert artefacts_of([(grey(64, 64), grey(64, 64))]).grid_excess() == dict.fromkeys(PERIODS)


def test_leaves_that_turn_grey_lose_their_chroma() -> None:
    green, greyer = grey(32, 64), grey(32, 64)
    green[:, :32] = (40, 160, 40)
    greyer[:, :32] = (70, 130, 70)  # half as far from grey
    found = artefacts_of([(green, greyer)]).saturated()
    assert found["patches"] == 4
    assert found["left"] == pytest.approx(0.5)
    # (Cb, Cr) = 60 * (0.331264, 0.418688) levels from what they were
    assert found["error"] == pytest.approx(60 * np.hypot(0.331264, 0.418688), rel=1e-3)


def test_grey_pictures_have_no_saturated_patch() -> None:
    assert artefacts_of([(grey(), grey())]).saturated()["error"] is None
