from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.viz.grids import (
    GAP,
    HEADER_HEIGHT,
    reconstruction_grid,
    save_reconstruction_grid,
)


def flat(grey_level: int, channels: int = 3, height: int = 100, width: int = 120) -> torch.Tensor:
    return torch.full((channels, height, width), grey_level / 127.5 - 1)


def cells(grid: np.ndarray, width: int) -> list[np.ndarray]:
    """The three pixels at the middle of the first row."""
    step = width + GAP
    return [grid[HEADER_HEIGHT + 10, column * step + width // 2] for column in range(3)]


def test_a_row_is_original_reconstruction_and_amplified_error() -> None:
    grid = reconstruction_grid([flat(100)], [flat(110)], error_gain=5)
    assert grid.shape == (HEADER_HEIGHT + 100, 3 * 120 + 2 * GAP, 3) and grid.dtype == np.uint8
    assert [cell.tolist() for cell in cells(grid, 120)] == [[100] * 3, [110] * 3, [50] * 3]
    assert grid[:HEADER_HEIGHT].min() < 128  # the header names the columns


def test_error_has_no_sign_and_is_clipped() -> None:
    darker, brighter = (
        reconstruction_grid([flat(100)], [flat(level)], error_gain=4) for level in (90, 110)
    )
    assert np.array_equal(cells(darker, 120)[2], cells(brighter, 120)[2])
    strong = reconstruction_grid([flat(0)], [flat(255)], error_gain=4)
    assert cells(strong, 120)[2].tolist() == [255] * 3


def test_sizes_and_channels_may_differ_between_rows() -> None:
    originals = [flat(10), flat(20, channels=1, height=30, width=200), flat(30, channels=4)]
    grid = reconstruction_grid(originals, originals)
    assert grid.shape == (HEADER_HEIGHT + 100 + 30 + 100 + 2 * GAP, 3 * 200 + 2 * GAP, 3)
    second = HEADER_HEIGHT + 100 + GAP + 5
    assert grid[second, 5].tolist() == [20] * 3  # grey shown as grey
    assert grid[HEADER_HEIGHT + 5, 150].tolist() == [255] * 3  # right of a narrower image


def test_a_batch_is_a_sequence_of_images() -> None:
    batch = torch.stack([flat(1), flat(2)])
    assert np.array_equal(
        reconstruction_grid(batch, batch), reconstruction_grid(list(batch), list(batch))
    )


def test_the_picture_on_disk_is_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "new" / "grid.png"
    save_reconstruction_grid(path, [flat(100)], [flat(90)])
    expected = reconstruction_grid([flat(100)], [flat(90)])
    assert np.array_equal(np.asarray(Image.open(path)), expected)


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        reconstruction_grid([], [])
    with pytest.raises(ValueError, match="1 originals and 2 reconstructions"):
        reconstruction_grid([flat(1)], [flat(1), flat(1)])
    with pytest.raises(ValueError, match="one shape"):
        reconstruction_grid([flat(1)], [flat(1, height=50)])
