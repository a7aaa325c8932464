"""Curves and BD-rates out of the reports of several codecs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ldm_ae.bench.published import PublishedCurve
from ldm_ae.bench.rate_distortion import scored
from ldm_ae.metrics.bd_rate import BDRate, bd_rate, best_of
from ldm_ae.metrics.table import METRICS

ANCHOR = "avif"
RATES = (0.1, 0.15, 0.25, 0.5)
Report = Mapping[str, Any]


def curve(report: Report, metric: str) -> list[tuple[float, float]]:
    """(bpp, metric), by rate: the envelope of a codec's settings. Empty without a value."""
    by_variant: dict[str, list[tuple[float, float]]] = {}
    for point in report["points"]:
        if point.get(metric) is not None:
            by_variant.setdefault(point["variant"], []).append((point["bpp"], point[metric]))
    return best_of(list(by_variant.values()), higher_is_better=METRICS[metric].higher_is_better)


def bd_rates(
    reports: Mapping[str, Report],
    published: Sequence[PublishedCurve] = (),
    anchor: str = ANCHOR,
) -> dict[str, dict[str, Any]]:
    """BD-rate against the anchor by codec and metric, each {"percent", "low", "high",
    "reason"}."""
    table: dict[str, dict[str, Any]] = {}
    for name, report in reports.items():
        if name != anchor:
            table[name] = {
                m: asdict(_against(reports.get(anchor), anchor, curve(report, m), m))
                for m in scored(report["points"][0])
            }
    for item in published:
        table[item.name] = {"published": True} | {
            metric: asdict(_against(reports.get(anchor), anchor, list(item.points[metric]), metric))
            for metric in item.points
        }
    return table


def _against(
    report: Report | None, anchor: str, points: list[tuple[float, float]], metric: str
) -> BDRate:
    if report is None:
        return BDRate(None, reason=f"{anchor} was not measured")
    return bd_rate(curve(report, metric), points, higher_is_better=METRICS[metric].higher_is_better)


def value_at(points: Sequence[tuple[float, float]], bpp: float) -> float | None:
    """Linear over the log of the rate; None outside the curve."""
    if not points or not points[0][0] <= bpp <= points[-1][0]:
        return None
    rates, values = np.array(points).T
    return float(np.interp(np.log(bpp), np.log(rates), values))


def table_rows(
    reports: Mapping[str, Report], metric: str, anchors: Sequence[str] = (ANCHOR,)
) -> list[dict[str, Any]]:
    """For `format_table`: name, BD-rate against each anchor, and the metric at a few rates."""
    rates = {anchor: bd_rates(reports, anchor=anchor) for anchor in anchors}
    rows = []
    for name, report in reports.items():
        row: dict[str, Any] = {"name": name}
        for anchor in anchors:
            percent = 0.0 if name == anchor else rates[anchor][name][metric]["percent"]
            row[bd_rate_column(anchor)] = percent
        points = curve(report, metric)
        rows.append(row | {f"{bpp} bpp": value_at(points, bpp) for bpp in RATES})
    return rows


def bd_rate_column(anchor: str) -> str:
    return f"BD-rate to {anchor} %"
