"""Quality against rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldm_ae.files import replacing

Row = Mapping[str, Any]


def save_rate_plot(path: Path, rows: Sequence[Row], metrics: Mapping[str, str]) -> None:
    """One panel per metric over bits per pixel, as a PNG, whole or not at all.

    rows: each with `name`, `kind`, `bpp` and the metrics; rows of a kind that has several
        qualities ("jpeg", "webp") are joined by a line, others are labelled points. A row
        without a value is left out of that panel.
    metrics: key -> axis label.
    """
    figure = Figure(figsize=(5.5 * len(metrics), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (metric, label) in enumerate(metrics.items()):
        axes = figure.add_subplot(1, len(metrics), index + 1)
        _draw(axes, rows, metric)
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(label)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _draw(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    known = [row for row in rows if row[metric] is not None and row["bpp"] is not None]
    axes.grid(alpha=0.3)
    if not known:
        axes.text(0.5, 0.5, "no value", ha="center", va="center", transform=axes.transAxes)
        return
    axes.set_xscale("log")
    for kind in dict.fromkeys(row["kind"] for row in known):
        points = sorted((row["bpp"], row[metric]) for row in known if row["kind"] == kind)
        if kind in ("jpeg", "webp"):
            axes.plot(*zip(*points, strict=True), marker=".", label=kind)
        else:
            for row in (row for row in known if row["kind"] == kind):
                marker = "x" if kind == "pca" else "o"
                axes.plot(row["bpp"], row[metric], marker, label=row["name"])
    axes.legend(fontsize=8)
