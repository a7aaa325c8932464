"""Rate-distortion curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from ldm_ae.files import replacing
from ldm_ae.viz.codecs import TITLES, colours_of

TICKS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Line:
    """points: (bits per pixel, value); a single one is a mark. kind: ours is drawn thick,
    published ones dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "measured"  # measured, ours, published


def rd_figure(panels: Mapping[str, Sequence[Line]]) -> Figure:
    """One panel per metric, by axis label, over bits per pixel on a log axis. A line without
    points is left out; a name has one colour in all panels."""
    figure = Figure(figsize=(6 * len(panels), 5), layout="constrained")
    every = [line for lines in panels.values() for line in lines]
    colours = colours_of(
        (line.name for line in every if line.kind != "published"),
        (line.name for line in every if line.kind == "published"),
    )
    for index, (label, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _draw(axes, [line for line in lines if line.points], colours)
        axes.set_xlabel("bits per pixel (of files)")
        axes.set_ylabel(label)
    return figure


def save_rd_curves(path: Path, panels: Mapping[str, Sequence[Line]]) -> None:
    """`rd_figure` as a PNG, whole or not at all."""
    figure = rd_figure(panels)
    FigureCanvasAgg(figure)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _draw(axes: Axes, lines: Sequence[Line], colours: Mapping[str, str]) -> None:
    axes.grid(alpha=0.3)
    if not lines:
        axes.text(0.5, 0.5, "no value", ha="center", va="center", transform=axes.transAxes)
        return
    axes.set_xscale("log")
    for line in lines:
        rates, values = zip(*sorted(line.points), strict=True)
        colour, title = colours[line.name], TITLES.get(line.name, line.name)
        if line.kind == "published":
            label = f"{title} (published)"
            axes.plot(rates, values, "--", color=colour, label=label, linewidth=0.9, alpha=0.7)
        else:
            width = 2.4 if line.kind == "ours" else 1.2
            mark = "o" if len(rates) == 1 else "."
            axes.plot(rates, values, color=colour, label=title, linewidth=width, marker=mark)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.legend(fontsize=7)
