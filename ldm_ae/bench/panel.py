"""The panel of metrics as benchmarks ask for it and print it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch

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


def measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that any of these rows has a value of, in the table's order."""
    return [name for name in METRICS if any(row.get(name) is not None for row in rows)]


def formats(names: Sequence[str]) -> dict[str, str]:
    """For `format_table`."""
    return {name: METRICS[name].format for name in names}


def labels(names: Sequence[str]) -> dict[str, str]:
    """For the axes of a plot."""
    return {name: METRICS[name].label for name in names}
