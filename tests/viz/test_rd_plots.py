from pathlib import Path

import numpy as np
from PIL import Image

from ldm_ae.viz.rd_plots import Line, save_rd_curves

MEASURED = Line("avif", [(0.1, 28.0), (0.5, 33.0)])
OURS = Line("mine", [(0.05, 24.0), (0.3, 30.0)], "ours")
PUBLISHED = Line("VTM", [(0.15, 29.5), (0.5, 34.4)], "published")


def picture(path: Path, *lines: Line) -> np.ndarray:
    save_rd_curves(path, {"PSNR (dB)": lines})
    return np.asarray(Image.open(path))


def test_a_panel_per_metric(tmp_path: Path) -> None:
    save_rd_curves(tmp_path / "two.png", {"PSNR (dB)": [MEASURED], "LPIPS": [OURS]})
    two = np.asarray(Image.open(tmp_path / "two.png"))
    assert two.shape[1] == 2 * picture(tmp_path / "one.png", MEASURED).shape[1]


def test_every_line_is_seen_and_its_kind_too(tmp_path: Path) -> None:
    every = picture(tmp_path / "a.png", MEASURED, OURS, PUBLISHED)
    without = picture(tmp_path / "b.png", MEASURED, OURS)
    solid = picture(tmp_path / "c.png", MEASURED, OURS, Line("VTM", PUBLISHED.points))
    assert not np.array_equal(every, without)
    assert not np.array_equal(every, solid)


def test_no_line_still_gives_a_picture(tmp_path: Path) -> None:
    assert picture(tmp_path / "a.png", Line("empty", [])).ndim == 3
