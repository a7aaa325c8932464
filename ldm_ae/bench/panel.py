"""The panel of metrics as benchmarks ask for it and print it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from ldm_ae.losses.backbones import Backbone
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.metrics.table import METRICS, ON_PAIRS


def add_panel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", nargs="+", choices=ON_PAIRS, default=ON_PAIRS, metavar="NAME",
        help=f"all by default: {', '.join(ON_PAIRS)}",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="DIR", help="folder of backbones, instead of those that are cached"
    )


def panel_of(arguments: argparse.Namespace, device: torch.device | str = "cpu") -> Panel:
    """The panel that the arguments name; says on stderr which metrics will be null, and why."""
    weights = dict.fromkeys(get_args(Backbone), arguments.weights) if arguments.weights else None
    panel = open_panel(arguments.metrics, Networks(device, weights))
    for name, reason in panel.reasons.items():
        print(f"{name} is null: {reason}", file=sys.stderr)
    return panel


def cpu_milliseconds(panel: Panel, pixels: Tensor) -> dict[str, dict[str, float]]:
    """Processor time of each metric on an image (1, 3, H, W), uint8: `see` it, once an image, and
    `compare` what became of it, which is looked at, too."""
    times = {}
    for name, judge in panel.judges.items():
        with torch.inference_mode():
            judge.see(pixels)  # the first time allocates
            start = time.process_time()
            seen = judge.see(pixels)
            middle = time.process_time()
            judge.compare(seen, judge.see(pixels))
            end = time.process_time()
        times[name] = {"see": 1000 * (middle - start), "compare": 1000 * (end - middle)}
    return times


def measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that any of these rows has a value of, in the table's order."""
    return [name for name in METRICS if any(row.get(name) is not None for row in rows)]


def formats(names: Sequence[str]) -> dict[str, str]:
    """For `format_table`."""
    return {name: METRICS[name].format for name in names}


def labels(names: Sequence[str]) -> dict[str, str]:
    """For the axes of a plot."""
    return {name: METRICS[name].label for name in names}
