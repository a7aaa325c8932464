from pathlib import Path

import numpy as np
from PIL import Image

from ldm_ae.viz.plots import save_rate_plot

ROWS = [
    {"name": "mine", "kind": "kl", "bpp": 1.0, "psnr": 25.0, "lpips": 0.1},
    {"name": "pca", "kind": "pca", "bpp": None, "psnr": None, "lpips": None},
    {"name": "jpeg-q50", "kind": "jpeg", "bpp": 0.9, "psnr": 32.0, "lpips": None},
    {"name": "jpeg-q10", "kind": "jpeg", "bpp": 0.3, "psnr": 26.0, "lpips": None},
]


def test_a_plot_has_a_panel_per_metric(tmp_path: Path) -> None:
    metrics = {"psnr": "PSNR (dB)", "lpips": "LPIPS-squeeze"}
    save_rate_plot(tmp_path / "two.png", ROWS, metrics)
    save_rate_plot(tmp_path / "one.png", ROWS, {"psnr": "PSNR (dB)"})
    one, two = (np.asarray(Image.open(tmp_path / name)) for name in ("one.png", "two.png"))
    assert two.shape[1] == 2 * one.shape[1]


def test_every_point_that_has_a_value_is_drawn(tmp_path: Path) -> None:
    metrics = {"psnr": "PSNR (dB)"}
    save_rate_plot(tmp_path / "all.png", ROWS, metrics)
    for index, name in ((0, "kl.png"), (3, "jpeg.png")):
        fewer = [row for row in ROWS if row is not ROWS[index]]
        save_rate_plot(tmp_path / name, fewer, metrics)
        assert (tmp_path / name).read_bytes() != (tmp_path / "all.png").read_bytes()


def test_a_metric_without_any_value_still_gives_a_picture(tmp_path: Path) -> None:
    save_rate_plot(tmp_path / "none.png", [ROWS[1]], {"psnr": "PSNR (dB)"})
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")
