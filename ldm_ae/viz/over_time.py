"""Scores over the time of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldm_ae.files import replacing

# By label: points (seconds, value) of every training that bears it.
Lines = Mapping[str, Sequence[Sequence[tuple[float, float]]]]


def over_time_figure(panels: Mapping[str, Lines]) -> Figure:
    """One panel for each axis label; trainings of one label have one colour."""
    figure = Figure(figsize=(4 * len(panels), 3.5), layout="constrained")
    names = sorted({name for lines in panels.values() for name in lines})
    for index, (label, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        axes.grid(alpha=0.3)
        for name, trainings in lines.items():
            for number, points in enumerate(trainings):
                seconds, values = zip(*sorted(points), strict=True)
                axes.plot(
                    [second / 60 for second in seconds],
                    values,
                    marker=".",
                    color=f"C{names.index(name)}",
                    label=None if number else name,
                )
        axes.set_xlabel("minutes of training")
        axes.set_ylabel(label)
        axes.legend(fontsize=7)
    return figure


def save_over_time(path: Path, panels: Mapping[str, Lines]) -> None:
    """`over_time_figure` as a PNG, whole or not at all."""
    figure = over_time_figure(panels)
    FigureCanvasAgg(figure)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
