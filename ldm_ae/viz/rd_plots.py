"""Rate-distortion curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from ldm_ae.files import replacing

TICKS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Line:
    """points: (bits per pixel, value). kind: ours is drawn thick, published ones dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "measured"  # measured, ours, published


def save_rd_curves(path: Path, panels: Mapping[str, Sequence[Line]]) -> None:
    """One panel per metric, by axis label, over bits per pixel on a log axis; a PNG, whole or not
    at all. A line without points is left out."""
    figure = Figure(figsize=(6 * len(panels), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (label, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _draw(axes, [line for line in lines if line.points])
        axes.set_xlabel("bits per pixel (of files)")
        axes.set_ylabel(label)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _draw(axes: Axes, lines: Sequence[Line]) -> None:
    axes.grid(alpha=0.3)
    if not lines:
        axes.text(0.5, 0.5, "no value", ha="center", va="center", transform=axes.transAxes)
        return
    axes.set_xscale("log")
    for line in lines:
        rates, values = zip(*sorted(line.points), strict=True)
        if line.kind == "published":
            label = f"{line.name} (published)"
            axes.plot(rates, values, "--", linewidth=0.9, alpha=0.7, label=label)
        else:
            width = 2.4 if line.kind == "ours" else 1.2
            axes.plot(rates, values, marker=".", linewidth=width, label=line.name)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.legend(fontsize=7)
