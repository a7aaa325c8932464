"""Curves and BD-rates out of the reports of several codecs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ldm_ae import zoo
from ldm_ae.bench.published import PublishedCurve
from ldm_ae.bench.report import format_table
from ldm_ae.config import read_yaml
from ldm_ae.export.training_config import TRAINING_CONFIG
from ldm_ae.metrics.bd_rate import BDRate, bd_rate, best_of
from ldm_ae.metrics.table import METRICS, OF_NETWORK

ANCHOR = "avif"
RATES = (0.1, 0.15, 0.25, 0.5)
Report = Mapping[str, Any]
Curve = Sequence[tuple[float, float]]


def curve(report: Report, metric: str) -> list[tuple[float, float]]:
    """(bpp, metric), by rate: the envelope of a codec's settings. Empty without a value."""
    by_variant: dict[str, list[tuple[float, float]]] = {}
    for point in report["points"]:
        if point.get(metric) is not None:
            by_variant.setdefault(point["variant"], []).append((point["bpp"], point[metric]))
    return best_of(list(by_variant.values()), higher_is_better=METRICS[metric].higher_is_better)


def as_compressed(
    reports: Mapping[str, Report], folders: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """{name: report} of what `ldm-ae compress --bpp` gives without a model's name, where both of
    the package's codecs were measured: the points of each at the rates that it is taken for."""
    names = {folder: name for name, folder in folders.items()}
    coarse, fine = (
        names.get(zoo.names().get(name, Path()))  # the versions of today
        for name in (zoo.DEFAULT_CODEC, zoo.FINE_CODEC)
    )
    if coarse is None or fine is None:
        return {}
    points = [
        point | {"variant": ""}
        for name in (coarse, fine)
        for point in reports[name]["points"]
        if zoo.codec_for(point["bpp"]) == (zoo.DEFAULT_CODEC if name == coarse else zoo.FINE_CODEC)
    ]
    return {f"{coarse}, {fine}": {"codec": "as compress takes them", "points": points}}


def bd_rates(
    reports: Mapping[str, Report],
    published: Sequence[PublishedCurve] = (),
    anchor: str = ANCHOR,
) -> dict[str, dict[str, Any]]:
    """BD-rate against the anchor by codec and metric, each {"percent", "low", "high", "reason"}:
    the common range of the metric, or why there is none."""
    table: dict[str, dict[str, Any]] = {}
    for name, report in reports.items():
        if name != anchor and report["points"]:
            metrics = [metric for metric in METRICS if metric in report["points"][0]]
            table[name] = {
                metric: asdict(_against(reports, anchor, curve(report, metric), metric))
                for metric in metrics
            }
    for item in published:
        table[item.name] = {"published": True} | {
            metric: asdict(_against(reports, anchor, points, metric))
            for metric, points in item.points.items()
            if metric in METRICS
        }
    return table


def _against(reports: Mapping[str, Report], anchor: str, points: Curve, metric: str) -> BDRate:
    if anchor not in reports or not reports[anchor]["points"]:
        return BDRate(None, reason=f"{anchor} was not measured")
    of_anchor, higher = curve(reports[anchor], metric), METRICS[metric].higher_is_better
    return bd_rate(of_anchor, points, higher_is_better=higher)


def value_at(points: Curve, bpp: float) -> float | None:
    """Linear over the log of the rate; None outside the curve."""
    if not points or not points[0][0] <= bpp <= points[-1][0]:
        return None
    rates, values = np.array(points).T
    return float(np.interp(np.log(bpp), np.log(rates), values))


def format_bd_table(
    reports: Mapping[str, Report],
    metric: str,
    anchors: Sequence[str] = (ANCHOR,),
    published: Sequence[PublishedCurve] = (),
) -> str:
    """A line for each codec, published ones behind: the metric at a few rates, and the BD-rate
    against each anchor with the range of the metric that it is over."""
    curves: dict[str, Curve] = {name: curve(report, metric) for name, report in reports.items()}
    for item in published:
        if metric in item.points:
            curves[item.name] = item.points[metric]
    columns = {"name": "s"} | {f"{bpp} bpp": METRICS[metric].format for bpp in RATES}
    rows: list[dict[str, Any]] = []
    for name, points in curves.items():
        row: dict[str, Any] = {"name": name + (" (published)" if name not in reports else "")}
        rows.append(row | {f"{bpp} bpp": value_at(points, bpp) for bpp in RATES})
    for anchor in anchors:
        columns |= {f"BD-rate to {anchor} %": ".1f", f"over ({anchor})": "s"}
        for row, (name, points) in zip(rows, curves.items(), strict=True):
            found = _against(reports, anchor, points, metric)
            row[f"BD-rate to {anchor} %"] = 0.0 if name == anchor else found.percent
            row[f"over ({anchor})"] = "" if name == anchor else _range(found)
    return format_table(rows, columns)


def _range(found: BDRate) -> str:
    if found.low is None or found.high is None:
        return (found.reason or "").partition(":")[0]
    return f"{found.low:.4g} to {found.high:.4g}"


def trained_on(folder: Path) -> list[str] | None:
    """The metrics whose network is in the loss that a model's export tells of; None if it tells
    of none."""
    path = folder / TRAINING_CONFIG
    if not path.is_file():
        return None
    loss = read_yaml(path).get("loss", {})
    weights = [
        float(loss.get(name, 0)) for name in ("perceptual_weight", "texture_weight", "gram_weight")
    ]
    net = loss.get("perceptual", {}).get("net")
    return [OF_NETWORK[net]] if any(weights) and net in OF_NETWORK else []


def independent_first(
    metrics: Sequence[str], training: Mapping[str, Sequence[str] | None]
) -> list[str]:
    """The metrics, those last that a model was trained on."""
    return sorted(metrics, key=lambda metric: bool(_students(metric, training)))


def metric_label(metric: str, training: Mapping[str, Sequence[str] | None]) -> str:
    """The metric's label, marked if a model was trained on it."""
    students = _students(metric, training)
    mark = f" (in the training of {', '.join(students)})" if students else ""
    return METRICS[metric].label + mark


def _students(metric: str, training: Mapping[str, Sequence[str] | None]) -> list[str]:
    return [name for name, metrics in training.items() if metric in (metrics or ())]
