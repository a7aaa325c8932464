from pathlib import Path

import numpy as np
from PIL import Image

from ldm_ae.viz.codecs import COLOURS, TITLES
from ldm_ae.viz.rd_plots import Line, rd_figure, save_rd_curves

MEASURED = Line("avif", [(0.5, 33.0), (0.1, 28.0)])
OURS = Line("mine", [(0.05, 24.0), (0.3, 30.0)], "ours")
POINT = Line("raw", [(1.0, 25.0)])
PUBLISHED = Line("VTM", [(0.15, 29.5), (0.5, 34.4)], "published")


def test_every_line_is_drawn_through_its_points_by_rate() -> None:
    (axes,) = rd_figure({"PSNR (dB)": [MEASURED, OURS, POINT, PUBLISHED]}).axes
    for drawn, line in zip(axes.lines, (MEASURED, OURS, POINT, PUBLISHED), strict=True):
        assert drawn.get_xydata().tolist() == [list(point) for point in sorted(line.points)]
    measured, ours, point, published = axes.lines
    assert ours.get_linewidth() > measured.get_linewidth() > published.get_linewidth()
    assert published.get_linestyle() == "--" and measured.get_linestyle() == "-"
    assert point.get_marker() == "o"  # a single point has no line to be seen
    assert axes.get_ylabel() == "PSNR (dB)" and axes.get_xscale() == "log"


def test_the_legend_names_what_is_drawn() -> None:
    (axes,) = rd_figure({"PSNR (dB)": [MEASURED, OURS, PUBLISHED, Line("empty", [])]}).axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["AVIF", "mine", "VTM (published)"]
    assert len(axes.lines) == 3


def test_a_codec_has_one_colour_in_all_plots() -> None:
    first = rd_figure({"PSNR": [OURS, MEASURED, PUBLISHED], "LPIPS": [MEASURED, POINT, OURS]})
    second = rd_figure({"PSNR": [POINT, MEASURED]})
    psnr, lpips = (
        {line.get_label(): line.get_color() for line in axes.lines} for axes in first.axes
    )
    assert psnr["AVIF"] == lpips["AVIF"] == COLOURS["avif"]
    assert second.axes[0].lines[1].get_color() == COLOURS["avif"]
    assert psnr["mine"] == lpips["mine"]
    everything = {**psnr, **lpips}
    assert len(set(everything.values())) == len(everything) == 4
    assert set(TITLES) == set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_without_a_value_the_panel_says_so() -> None:
    (axes,) = rd_figure({"PSNR": [Line("empty", [])]}).axes
    assert [text.get_text() for text in axes.texts] == ["no value"]


def test_the_file_is_the_figure(tmp_path: Path) -> None:
    """What is seen changes with the points alone, the legend staying as it is."""
    pictures = []
    for index, line in enumerate((OURS, Line("mine", [(0.05, 24.0), (0.3, 27.0)], "ours"))):
        path = tmp_path / "deep" / f"{index}.png"
        save_rd_curves(path, {"PSNR": [line, MEASURED], "LPIPS": [OURS]})
        pictures.append(np.asarray(Image.open(path)))
    assert pictures[0].shape == pictures[1].shape == (600, 1440, 4)
    assert not np.array_equal(*pictures)
