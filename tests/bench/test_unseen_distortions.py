"""What each distortion does to pixels; that strength makes it worse is tested where it is used."""

import numpy as np
import pytest
from skimage import data

from ldm_ae.bench.unseen_distortions import (
    FAMILIES,
    chromatic_shift,
    dithered_palette,
    motion_blur,
    pca_patches,
    ripple,
    salt_and_pepper,
    swirl,
)

PHOTO = data.astronaut()[100:141, 100:150]  # neither side is a multiple of 8


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_photo_is_distorted_the_same_and_stays_as_it_is(name: str) -> None:
    distort, strengths = FAMILIES[name]
    photo = PHOTO.copy()
    first, second = (distort(photo, strengths[-1]) for _ in range(2))
    assert np.array_equal(first, second) and first.shape == photo.shape
    assert np.array_equal(photo, PHOTO) and not np.array_equal(first, photo)


def test_motion_smears_a_dot_along_a_slanted_line() -> None:
    dot = np.zeros((21, 21, 3), np.uint8)
    dot[10, 10] = 245
    rows, columns, _ = np.nonzero(blurred := motion_blur(dot, 7))
    assert set(blurred[blurred > 0]) == {35} and len(rows) == 7 * 3
    assert (rows.min(), rows.max()) == (8, 12) and (columns.min(), columns.max()) == (7, 13)


def test_salt_and_pepper_are_half_and_half_and_leave_the_rest() -> None:
    grey = np.full((100, 100, 3), 77, np.uint8)
    values, counts = np.unique(
        salt_and_pepper(grey, 0.1).reshape(-1, 3), axis=0, return_counts=True
    )
    assert values.tolist() == [[0] * 3, [77] * 3, [255] * 3]
    assert counts == pytest.approx([500, 9000, 500], abs=80)


def test_red_and_blue_part_and_green_stays() -> None:
    shifted = chromatic_shift(PHOTO, 3)
    red, green, blue = (PHOTO[..., channel] for channel in range(3))
    assert np.array_equal(shifted[..., 1], green)
    assert np.array_equal(shifted[:, 3:, 0], red[:, :-3])
    assert np.array_equal(shifted[3:, :-3, 2], blue[:-3, 3:])


def test_a_ripple_moves_rows_and_columns_along_a_sine() -> None:
    ramp = np.broadcast_to(np.arange(48)[None, :, None] * 5, (48, 48, 3)).astype(np.uint8)
    rippled = ripple(ramp, 2)
    assert (rippled[0] == ramp[0]).all()  # sin(0)
    assert (rippled[6, :-2] == ramp[6, 2:]).all()  # sin(pi / 2)
    assert (rippled[18, 2:] == ramp[18, :-2]).all()
    assert (ripple(ramp.swapaxes(0, 1), 2) == rippled.swapaxes(0, 1)).all()


def test_a_swirl_turns_what_surrounds_a_centre() -> None:
    ramp = np.broadcast_to(np.arange(48)[:, None, None] * 5, (48, 48, 3)).astype(np.uint8)
    swirled = swirl(ramp, 90).astype(int)
    for centre in (8, 24, 40):
        assert swirled[centre, 24] == pytest.approx(5 * centre, abs=1)
        assert swirled[centre, 25] == pytest.approx(5 * (centre + 1), abs=1)  # from below
        assert swirled[centre, 23] == pytest.approx(5 * (centre - 1), abs=1)
    assert np.array_equal(swirl(PHOTO, 0), PHOTO)


def test_all_components_are_the_photo_and_its_remainder_is_kept() -> None:
    assert np.array_equal(pca_patches(PHOTO, 192), PHOTO)
    coarse = pca_patches(PHOTO, 3)
    assert np.array_equal(coarse[40:], PHOTO[40:]) and np.array_equal(coarse[:, 48:], PHOTO[:, 48:])
    assert not np.array_equal(coarse[:40, :48], PHOTO[:40, :48])


def test_a_palette_has_so_many_colours() -> None:
    assert len(np.unique(dithered_palette(PHOTO, 5).reshape(-1, 3), axis=0)) == 5
