from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm_ae.viz.gallery import CAPTION_HEIGHT, GAP, Tile, centre_crop, gallery, save_gallery


def tile(colour: int, height: int = 20, width: int = 120) -> Tile:
    return Tile("codec", "1,234 bytes", np.full((height, width, 3), colour, np.uint8))


def test_every_crop_is_in_its_place() -> None:
    sheet = gallery([[tile(10), tile(20)], [tile(30, 40), tile(40, 40)]])
    second = CAPTION_HEIGHT + 20 + GAP + CAPTION_HEIGHT
    assert sheet.shape == (second + 40, 2 * 120 + GAP, 3)
    assert (sheet[CAPTION_HEIGHT : CAPTION_HEIGHT + 20, :120] == 10).all()
    assert (sheet[CAPTION_HEIGHT : CAPTION_HEIGHT + 20, 120 + GAP :] == 20).all()
    assert (sheet[second:, 120 + GAP :] == 40).all()
    assert (sheet[:CAPTION_HEIGHT] < 255).any()  # the caption


def test_the_crop_is_the_middle() -> None:
    pixels = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    assert np.array_equal(centre_crop(pixels, 3), pixels[1:4, 3:6])
    assert np.array_equal(centre_crop(pixels, 7), pixels[:, 1:8])


def test_tiles_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        gallery([[tile(1), tile(1, height=21)]])
    with pytest.raises(ValueError, match="at least one row"):
        gallery([])


def test_the_file_holds_the_picture(tmp_path: Path) -> None:
    save_gallery(tmp_path / "deep" / "g.png", [[tile(7)]])
    assert np.array_equal(np.array(Image.open(tmp_path / "deep" / "g.png")), gallery([[tile(7)]]))
