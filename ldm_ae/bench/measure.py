"""Measures coders over images: what a file costs and what it keeps, row by row.

Rows are kept as they come, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ldm_ae.bench.coder import Coder, Pixels, Point
from ldm_ae.bench.photos import Photo, pixel_digest, to_tensor
from ldm_ae.bench.report import write_json
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Original, Panel, Scores, mean_scores
from ldm_ae.metrics.table import METRICS

NUMBERS = (
    "num_bytes",
    "bpp",
    "encode_seconds",
    "decode_seconds",
    "encode_cpu_seconds",
    "decode_cpu_seconds",
)


def measure_point(coder: Coder, point: Point, pixels: Pixels, original: Original) -> dict[str, Any]:
    """Bytes, bpp, scores and times of one image; `original` is of its pixels. A metric that is
    None has its entry under `reasons`. Raises UserError if the image comes back otherwise sized.
    """
    wall, cpu = time.perf_counter(), cpu_seconds()
    file = coder.encode(pixels, point)
    wall_encoded, cpu_encoded = time.perf_counter(), cpu_seconds()
    decoded = coder.decode(file, point)
    wall_decoded, cpu_decoded = time.perf_counter(), cpu_seconds()
    if decoded.shape != pixels.shape:
        raise UserError(f"{coder.name}: {pixels.shape} came back as {decoded.shape}")
    (scores,) = original.scores(to_tensor(decoded))
    return {
        "variant": point.variant,
        "quality": point.quality,
        "num_bytes": len(file),
        "bpp": 8 * len(file) / (pixels.shape[0] * pixels.shape[1]),
        **scores.values,
        "reasons": scores.reasons,
        "encode_seconds": wall_encoded - wall,
        "decode_seconds": wall_decoded - wall_encoded,
        "encode_cpu_seconds": cpu_encoded - cpu,
        "decode_cpu_seconds": cpu_decoded - cpu_encoded,
    }


def cpu_seconds() -> float:
    """Processor time of this process and of those it started that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Plain means over images of one point's values; None where an image has none."""
    scores = mean_scores([Scores(_values(row), row["reasons"]) for row in rows])
    point = {key: rows[0][key] for key in ("variant", "quality")}
    numbers = {key: math.fsum(row[key] for row in rows) / len(rows) for key in NUMBERS}
    return point | numbers | scores.values | {"reasons": scores.reasons}


def _values(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row[name] for name in METRICS if name in row}


def measure_coder(
    coder: Coder,
    photos: Sequence[Photo],
    panel: Panel,
    cache_dir: Path | None = None,
    after_row: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """{"codec", "identity", "metrics", "num_images", "points": means, "images": rows of each}.

    A row found in the cache, of the same pixels, coder and metrics, is not measured again.
    """
    key = {"identity": as_json(coder.identity), "metrics": panel.protocol()}
    images = []
    for photo in photos:
        pixels = photo.pixels()
        digest = pixel_digest(pixels)
        path = None if cache_dir is None else cache_dir / coder.name / f"{digest[:20]}.json"
        rows = _Rows(path, {"pixels": digest} | key)
        original: Original | None = None
        for point in coder.points:
            if point not in rows.known:
                original = original or panel.see(to_tensor(pixels))
                rows.add(point, measure_point(coder, point, pixels, original))
            after_row()
        height, width = pixels.shape[:2]
        images.append(
            {"name": photo.name, "width": width, "height": height, "pixels_sha256": digest}
            | {"rows": [rows.known[point] for point in coder.points]}
        )
    columns = zip(*(image["rows"] for image in images), strict=True)
    points = [mean_row(rows) for rows in columns]
    head = {"codec": coder.name, **key, "num_images": len(images)}
    return head | {"points": points, "images": images}


def why_not_reusable(
    report: dict[str, Any], coder: Coder, photos: Sequence[Photo], panel: Panel
) -> str | None:
    """Why an earlier report cannot stand for this run; None if it can."""
    if "reason" in report:
        return "the codec could not be had there"
    identity = report.get("identity", {})
    if identity.get("options") != as_json(coder.identity.get("options")):
        return "other settings"
    if identity.get("model_files") != coder.identity.get("model_files"):
        return "another model"
    if report.get("metrics") != panel.protocol():
        return "other metrics"
    qualities = [(point["variant"], point["quality"]) for point in report["points"]]
    if qualities != [(point.variant, point.quality) for point in coder.points]:
        return "other qualities"
    if [image["pixels_sha256"] for image in report["images"]] != [
        pixel_digest(photo.pixels()) for photo in photos
    ]:
        return "other images"
    return None


def as_json(value: Any) -> Any:
    """As it will be read back."""
    return json.loads(json.dumps(value, default=dict))


class _Rows:
    """Rows of one image by point, in a file, if there is one, that each new row rewrites."""

    def __init__(self, path: Path | None, key: dict[str, Any]) -> None:
        self.path, self.key = path, key
        self.known = {Point(row["variant"], row["quality"]): row for row in self._stored()}

    def _stored(self) -> Iterator[dict[str, Any]]:
        if self.path is None:
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # nothing there yet, or not ours
            return
        if content.get("key") == self.key:
            yield from content["rows"]

    def add(self, point: Point, row: dict[str, Any]) -> None:
        self.known[point] = row
        if self.path is not None:
            write_json(self.path, {"key": self.key, "rows": list(self.known.values())})
