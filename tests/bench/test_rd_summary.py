from pathlib import Path

import pytest

from ldm_ae import zoo
from ldm_ae.bench.published import KODAK_NAMES, PUBLISHED, UNNAMED_LPIPS, published_for
from ldm_ae.bench.rd_summary import (
    as_compressed,
    bd_rates,
    curve,
    format_bd_table,
    independent_first,
    metric_label,
    trained_on,
    value_at,
)
from ldm_ae.metrics.table import METRICS


def report(factor: float, variants: tuple[str, ...] = ("",)) -> dict:
    """A codec that needs `factor` times the rate; of two variants the second is worse."""
    points = [
        {"variant": variant, "bpp": factor * rate, "psnr": db - 2 * index}
        | {"ms_ssim": 0.02 * db, "lpips_alex": 8 / db + 0.1 * index}
        for index, variant in enumerate(variants)
        for rate, db in ((0.1, 26.0), (0.3, 30.0), (1.0, 35.0))
    ]
    return {"points": points}


def test_bd_rates_are_against_avif_in_every_metric() -> None:
    reports = {"avif": report(1, ("4:2:0", "4:4:4")), "mine": report(0.5), "bad": report(2)}
    rates = bd_rates(reports)
    assert set(rates) == {"mine", "bad"}
    for metric in ("psnr", "ms_ssim", "lpips_alex"):
        assert rates["mine"][metric]["percent"] == pytest.approx(-50)
        assert rates["bad"][metric]["percent"] == pytest.approx(100)
    assert bd_rates({"mine": report(1)})["mine"]["psnr"]["reason"] == "avif was not measured"


def test_any_codec_can_be_the_anchor() -> None:
    reports = {"avif": report(1), "mine": report(0.5), "other": report(0.25)}
    rates = bd_rates(reports, anchor="mine")
    assert rates["other"]["lpips_alex"]["percent"] == pytest.approx(-50)
    assert rates["avif"]["lpips_alex"]["percent"] == pytest.approx(100)
    line = format_bd_table(reports, "lpips_alex", ["avif", "mine"]).splitlines()[3]
    assert line.split()[0] == "other" and {"-75.0", "-50.0"} <= set(line.split())


def test_a_curve_leaves_out_points_without_a_value() -> None:
    one = report(1)
    one["points"][1]["lpips_alex"] = None
    assert len(curve(one, "lpips_alex")) == 2
    assert len(curve(one, "psnr")) == 3


def test_the_worse_setting_is_not_on_the_curve() -> None:
    assert len(curve(report(1, ("a", "b")), "psnr")) == 3


def test_both_of_the_packages_codecs_are_joined_where_compress_changes_over() -> None:
    def at(*rates: float) -> dict:
        return {"points": [{"variant": "a", "bpp": bpp, "psnr": 20 + bpp} for bpp in rates]}

    reports = {"small": at(0.05, 0.1, 0.2), "large": at(0.12, zoo.FINE_FROM, 0.3)}
    folders = {"small": zoo.names()["codec"], "large": zoo.names()["codec-fine"]}
    joined = as_compressed(reports, folders)["small, large"]
    rates = [rate for rate, _ in curve(joined, "psnr")]
    assert rates == pytest.approx([0.05, 0.1, zoo.FINE_FROM, 0.3])
    assert as_compressed(reports, folders | {"large": Path("elsewhere")}) == {}


def test_values_between_points_are_linear_in_the_logarithm() -> None:
    assert value_at([(0.1, 1.0), (0.4, 3.0)], 0.2) == pytest.approx(2.0)
    assert value_at([(0.1, 1.0), (0.4, 3.0)], 0.5) is None
    assert value_at([], 0.2) is None


def test_the_table_states_the_range_of_each_bd_rate_or_that_there_is_none() -> None:
    far = report(1)
    for point in far["points"]:
        point["psnr"] -= 20
    missing = {"reason": "no such package", "points": []}
    reports = {"avif": report(1), "mine": report(0.5), "far": far, "jxl": missing}
    head, *lines = format_bd_table(reports, "psnr").splitlines()
    assert "BD-rate to avif %" in head and "over (avif)" in head
    assert [line.split()[0] for line in lines] == list(reports)
    assert "-50.0" in lines[1] and lines[1].endswith("26 to 35")
    assert "n/a" in lines[2] and lines[2].endswith("no common range of the metric")
    assert lines[3].endswith("a curve has fewer than two points that count")
    value = value_at(curve(report(1), "psnr"), 0.5)
    assert f"{value:.2f}" in lines[0]


def test_published_curves_are_of_kodak_alone() -> None:
    assert published_for(list(KODAK_NAMES[1:])) == ()
    curves = published_for(list(reversed(KODAK_NAMES)))
    by_name = {item.name: item for item in curves}
    assert by_name["VTM"].points["psnr"][1] == (0.25, 31.27)
    assert by_name["MS-ILLM"].points["lpips_alex"][2] == (0.1532, 0.0732)
    rates = bd_rates({"avif": report(1)}, curves)
    assert rates["VTM"]["published"] is True
    assert rates["VTM"]["psnr"]["percent"] < 0
    assert UNNAMED_LPIPS not in rates["DC-VIC"]  # beside no LPIPS of ours
    lines = format_bd_table({"avif": report(1)}, "psnr", published=curves).splitlines()
    assert lines[3].startswith("VTM (published)") and len(lines) == 2 + len(curves)
    assert len(format_bd_table({"avif": report(1)}, "ssim", published=curves).splitlines()) == 2


def test_published_metrics_are_in_the_table_and_better_with_rate() -> None:
    for item in PUBLISHED:
        for metric, points in item.points.items():
            rates, values = zip(*points, strict=True)
            assert list(rates) == sorted(rates)
            if metric != UNNAMED_LPIPS and metric in METRICS:
                assert list(values) == sorted(values, reverse=not METRICS[metric].higher_is_better)
    named = {metric for item in PUBLISHED for metric in item.points}
    assert named == {"psnr", "ms_ssim", "lpips_alex", "dists", UNNAMED_LPIPS}


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("{perceptual: {net: squeeze}, perceptual_weight: 1}", ["lpips_squeeze"]),
        ("{perceptual: {net: squeeze}, perceptual_weight: 0, gram_weight: 0.0}", []),
        ("{perceptual: {net: vgg}, perceptual_weight: 0, gram_weight: 0.1}", ["lpips_vgg"]),
        ("{perceptual: {net: none}, perceptual_weight: 1}", []),
    ],
)
def test_what_a_model_was_trained_on_stands_in_its_export(
    tmp_path: Path, loss: str, metrics: list[str]
) -> None:
    assert trained_on(tmp_path) is None
    (tmp_path / "training_config.yaml").write_text(f"loss: {loss}\n")
    assert trained_on(tmp_path) == metrics


def test_metrics_of_the_training_come_last_and_are_marked() -> None:
    training = {"mine": ["lpips_alex"], "other": None, "third": []}
    assert independent_first(["lpips_alex", "psnr"], training) == ["psnr", "lpips_alex"]
    assert metric_label("lpips_alex", training) == "LPIPS-alex (in the training of mine)"
    assert metric_label("psnr", training) == METRICS["psnr"].label
