from pathlib import Path

from PIL import Image

from ldm_ae.viz.over_time import over_time_figure, save_over_time

PANELS = {
    "PSNR, dB": {
        "ours": [[(120.0, 24.0), (60.0, 22.0)], [(60.0, 23.0), (120.0, 25.0)]],
        "other": [[(60.0, 20.0), (120.0, 21.0)]],
    },
    "LPIPS": {"other": [[(60.0, 0.4)]]},
}


def test_each_training_is_a_line_over_minutes_and_a_recipe_has_one_colour_and_name() -> None:
    psnr, lpips = over_time_figure(PANELS).axes
    assert psnr.get_ylabel() == "PSNR, dB" and lpips.get_ylabel() == "LPIPS"
    first, second, other = psnr.lines
    assert first.get_xydata().tolist() == [[1.0, 22.0], [2.0, 24.0]]
    assert first.get_color() == second.get_color() != other.get_color()
    assert lpips.lines[0].get_color() == other.get_color()
    assert [text.get_text() for text in psnr.get_legend().get_texts()] == ["ours", "other"]


def test_the_picture_is_written(tmp_path: Path) -> None:
    save_over_time(tmp_path / "curves.png", PANELS)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > picture.height
