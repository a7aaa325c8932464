import pytest

from ldm_ae.bench.published import KODAK_NAMES, published_for
from ldm_ae.bench.rd_summary import bd_rates, curve, table_rows, value_at


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
    rows = table_rows(reports, "lpips_alex", ["avif", "mine"])
    assert rows[2]["BD-rate to avif %"] == pytest.approx(-75)
    assert rows[2]["BD-rate to mine %"] == pytest.approx(-50)


def test_a_curve_leaves_out_points_without_a_value() -> None:
    one = report(1)
    one["points"][1]["lpips_alex"] = None
    assert len(curve(one, "lpips_alex")) == 2
    assert len(curve(one, "psnr")) == 3


def test_the_worse_setting_is_not_on_the_curve() -> None:
    assert len(curve(report(1, ("a", "b")), "psnr")) == 3


def test_values_between_points_are_linear_in_the_logarithm() -> None:
    assert value_at([(0.1, 1.0), (0.4, 3.0)], 0.2) == pytest.approx(2.0)
    assert value_at([(0.1, 1.0), (0.4, 3.0)], 0.5) is None
    assert value_at([], 0.2) is None


def test_the_table_has_a_row_per_codec() -> None:
    rows = table_rows({"avif": report(1), "mine": report(0.5)}, "psnr")
    assert [(row["name"], row["BD-rate to avif %"]) for row in rows] == [
        ("avif", 0.0),
        ("mine", pytest.approx(-50)),
    ]
    assert rows[0]["0.5 bpp"] == value_at(curve(report(1), "psnr"), 0.5) is not None


def test_published_curves_are_of_kodak_alone() -> None:
    assert published_for(list(KODAK_NAMES[1:])) == ()
    curves = published_for(list(reversed(KODAK_NAMES)))
    by_name = {item.name: item for item in curves}
    assert by_name["VTM"].points["psnr"][1] == (0.25, 31.27)
    assert set(by_name["MS-ILLM"].points) == {"psnr", "lpips_alex"}
    rates = bd_rates({"avif": report(1)}, curves)
    assert rates["VTM"]["published"] is True
    assert rates["VTM"]["psnr"]["percent"] < 0
