"""Scores of images by a panel of metrics.

Protocol: original and reconstruction are clamped and rounded to uint8 before any metric; each
metric is taken per image; a mean is the plain mean of the per-image values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ldm_ae.data.images import to_uint8
from ldm_ae.errors import UserError
from ldm_ae.metrics.judges import Judge, Networks
from ldm_ae.metrics.table import METRICS, ON_PAIRS, require_metric


@dataclass(frozen=True)
class Scores:
    """One image's values by metric, or the means of many; `reasons` says why a value is None."""

    values: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)


class Panel:
    """Metrics of pairs of images, on one device.

    names: in the table's order. reasons: of those that cannot be had, whatever the images.
    """

    def __init__(
        self, judges: Mapping[str, Judge], reasons: Mapping[str, str], device: torch.device
    ) -> None:
        self.judges, self.reasons, self.device = dict(judges), dict(reasons), device
        self.names = [name for name in METRICS if name in judges or name in reasons]

    def see(self, pixels: Tensor) -> Original:
        """Look at originals (B, C, H, W), uint8, once for all that they are compared with."""
        return Original(self, pixels)

    def score(self, originals: Tensor, reconstructions: Tensor) -> list[Scores]:
        """Scores of (B, C, H, W) reconstructions in [-1, 1], in order.

        Raises UserError if the shapes differ or a reconstruction is not finite.
        """
        if not torch.isfinite(reconstructions).all():
            raise UserError("a reconstruction is not finite and has no score: check the weights")
        return self.see(to_uint8(originals)).scores(to_uint8(reconstructions))

    def protocol(self) -> dict[str, str]:
        """What a report says of each metric: how it is computed, or why there is none."""
        return {
            name: f"null: {self.reasons[name]}" if name in self.reasons else METRICS[name].protocol
            for name in self.names
        }


class Original:
    """What a panel knows of a batch of originals."""

    @torch.inference_mode()
    def __init__(self, panel: Panel, pixels: Tensor) -> None:
        self.panel, self.shape = panel, pixels.shape
        self.reasons = panel.reasons | {
            name: _too_small(name, pixels)
            for name in panel.judges
            if min(pixels.shape[2:]) < METRICS[name].min_side
        }
        pixels = pixels.to(panel.device)
        self.seen: dict[str, Any] = {
            name: judge.see(pixels)
            for name, judge in panel.judges.items()
            if name not in self.reasons
        }

    @torch.inference_mode()
    def scores(self, pixels: Tensor) -> list[Scores]:
        """Scores of what became of the originals, (B, C, H, W) uint8, in order. Raises UserError
        for another shape."""
        if pixels.shape != self.shape:
            raise UserError(
                f"images {tuple(self.shape)} came back as {tuple(pixels.shape)}: "
                "they cannot be compared"
            )
        pixels = pixels.to(self.panel.device)
        columns: dict[str, list[float]] = {}
        for name, seen in self.seen.items():
            judge = self.panel.judges[name]
            columns[name] = judge.compare(seen, judge.see(pixels)).double().tolist()
        return [self._row(columns, index) for index in range(len(pixels))]

    def _row(self, columns: Mapping[str, list[float]], index: int) -> Scores:
        values: dict[str, float | None] = dict.fromkeys(self.panel.names)
        values |= {name: column[index] for name, column in columns.items()}
        reasons = dict(self.reasons)
        if values.get("psnr") == math.inf:
            values["psnr"], reasons["psnr"] = None, "infinite: equal to the original in every pixel"
        return Scores(values, reasons)


def open_panel(names: Iterable[str] = ON_PAIRS, networks: Networks | None = None) -> Panel:
    """The metrics `names`; one that cannot be had is not an error but a reason.

    networks: None runs on the CPU with what is cached. Raises UserError for a name that is not in
    the table, or not of pairs of images.
    """
    networks = networks or Networks()
    judges, reasons = {}, {}
    for name in names:
        require_metric(name, "metric")
        opener = METRICS[name].open
        if opener is None:
            raise UserError(f"metric={name}: is of sets of images, not of pairs")
        try:
            judges[name] = opener(networks)
        except (ValueError, ImportError) as error:
            reasons[name] = str(error)
    return Panel(judges, reasons, networks.device)


def evaluate(
    reconstruct: Callable[[Tensor], Tensor], images: Iterable[Tensor], panel: Panel
) -> list[Scores]:
    """Scores of `reconstruct` on batches of images, in their order.

    reconstruct: (B, C, H, W) in [-1, 1] -> the same shape, such as a model's `.reconstruct`.
    images: batches of (B, C, H, W) floats in [-1, 1], on the device `reconstruct` wants.
    """
    with torch.inference_mode():
        return [scores for batch in images for scores in panel.score(batch, reconstruct(batch))]


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each metric over images; None, with the reason, if any image lacks it.

    Raises UserError if there are no images.
    """
    if not scores:
        raise UserError("no image was scored: there is no mean")
    means: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in scores[0].values:
        values = [image.values[name] for image in scores]
        known = [value for value in values if value is not None]
        means[name] = math.fsum(known) / len(known) if len(known) == len(values) else None
        why = [image.reasons[name] for image in scores if image.values[name] is None]
        if len(why) == len(values) and len(set(why)) == 1:
            reasons[name] = why[0]
        elif why:
            reasons[name] = f"{len(why)} of {len(values)} images have none: {why[0]}"
    return Scores(means, reasons)


def _too_small(name: str, pixels: Tensor) -> str:
    height, width = pixels.shape[2:]
    metric = METRICS[name]
    return f"{metric.label} takes {metric.min_side} pixels a side or more; got {width} x {height}"
