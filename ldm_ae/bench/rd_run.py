"""Measures a coder over images, keeping every row so that an interrupted run goes on."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm_ae.bench.image_codecs import Pixels
from ldm_ae.bench.rate_distortion import (
    Coder,
    Point,
    mean_points,
    measure_point,
    pixel_digest,
    to_tensor,
)
from ldm_ae.bench.report import write_json
from ldm_ae.data.folder import EMBEDDED_VALIDATION, embedded_photos
from ldm_ae.data.images import load_image
from ldm_ae.data.paths import find_images
from ldm_ae.metrics.panel import Original, Panel

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Photo:
    """A test image, read when it is needed."""

    name: str
    path: Path

    def pixels(self) -> Pixels:
        """(H, W, 3) uint8. Raises BrokenImageError, a ValueError."""
        return load_image(self.path)


def list_photos(images: str, limit: int | None = None) -> list[Photo]:
    """The images under a folder, in any layout, sorted; or, for "embedded", the photos of
    scikit-image that no training of this package sees. Raises ValueError if there are none."""
    if images == EMBEDDED:
        photos = [Photo(path.name, path) for path in embedded_photos(EMBEDDED_VALIDATION)]
    else:
        folder = Path(images)
        photos = [Photo(path.relative_to(folder).as_posix(), path) for path in find_images(folder)]
    return photos[:limit]


def measure_coder(
    coder: Coder,
    photos: Sequence[Photo],
    panel: Panel,
    cache_dir: Path,
    after_row: Callable[[], object],
) -> dict[str, Any]:
    """{"codec", "identity", "metrics", "points": means, "images": rows of each}.

    A row found in the cache, of the same pixels, coder and metrics, is not measured again.
    """
    metrics = panel.protocol()
    identity = json.loads(json.dumps(dict(coder.identity)))  # as it will be read back
    images = []
    for photo in photos:
        pixels = photo.pixels()
        digest = pixel_digest(pixels)
        key = {"pixels": digest, "identity": identity, "metrics": metrics}
        rows = _CachedRows(cache_dir / coder.name / f"{digest[:20]}.json", key)
        original: Original | None = None
        for point in coder.points:
            if point not in rows:
                original = original or panel.see(to_tensor(pixels))
                rows.add(point, measure_point(coder, point, pixels, original))
            after_row()
        height, width = pixels.shape[:2]
        images.append(
            {"name": photo.name, "width": width, "height": height, "pixels_sha256": digest}
            | {"rows": [rows[point] for point in coder.points]}
        )
    head = {"codec": coder.name, "identity": identity, "metrics": metrics}
    return head | {"num_images": len(images), "points": mean_points(images), "images": images}


def why_not_reusable(
    report: dict[str, Any], coder: Coder, photos: Sequence[Photo], panel: Panel
) -> str | None:
    """Why an earlier report cannot stand for this run; None if it can."""
    if report.get("identity", {}).get("options") != _as_json(coder.identity.get("options")):
        return "other settings"
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


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


class _CachedRows:
    """Rows of one image by point, in a file that is rewritten with every new one."""

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path, self.key = path, key
        self.rows: dict[Point, dict[str, Any]] = {}
        for row in self._stored():
            self.rows[Point(row["variant"], row["quality"])] = row

    def _stored(self) -> Iterator[dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # nothing there yet, or not ours
            return
        if content.get("key") == self.key:
            yield from content["rows"]

    def __contains__(self, point: Point) -> bool:
        return point in self.rows

    def __getitem__(self, point: Point) -> dict[str, Any]:
        return self.rows[point]

    def add(self, point: Point, row: dict[str, Any]) -> None:
        self.rows[point] = row
        write_json(self.path, {"key": self.key, "rows": list(self.rows.values())})
