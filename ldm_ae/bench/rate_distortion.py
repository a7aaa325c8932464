"""What a file costs and what it keeps: one row for each coder, operating point and image."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ldm_ae.bench.image_codecs import TUNED, Format, ImageCodec, Pixels, codec_versions
from ldm_ae.metrics.panel import Original
from ldm_ae.metrics.table import METRICS

TIMES = ("encode_seconds", "decode_seconds", "encode_cpu_seconds", "decode_cpu_seconds")


@dataclass(frozen=True)
class Point:
    """How a coder is set. variant: "" where there is only one."""

    variant: str
    quality: float


class Coder(Protocol):
    """Pixels, (H, W, 3) uint8, to a file and back.

    name: of the curve. identity: everything, apart from the point, that decides the file's bytes.
    """

    name: str
    points: Sequence[Point]
    identity: Mapping[str, Any]

    def encode(self, pixels: Pixels, point: Point) -> bytes: ...

    def decode(self, file: bytes, point: Point) -> Pixels: ...


class PillowCoder:
    """A format in all its tuned variants. Raises ValueError if it cannot be had here."""

    def __init__(self, format: Format) -> None:
        self.name: str = format
        self.format = format
        self.variants = {variant.name: variant for variant in TUNED[format]}
        self.points = [Point(v.name, q) for v in TUNED[format] for q in v.qualities]
        options = {v.name: [list(option) for option in v.options] for v in TUNED[format]}
        self.identity = {"options": options, "versions": codec_versions(format)}
        self._codec(self.points[0])

    def encode(self, pixels: Pixels, point: Point) -> bytes:
        return self._codec(point).encode(pixels)

    def decode(self, file: bytes, point: Point) -> Pixels:
        return self._codec(point).decode(file)

    def _codec(self, point: Point) -> ImageCodec:
        return ImageCodec(self.format, point.quality, self.variants[point.variant].options)


def measure_point(coder: Coder, point: Point, pixels: Pixels, original: Original) -> dict[str, Any]:
    """Bytes, bpp, scores and times of one image; original: what is known of its pixels.

    Raises ValueError if it comes back otherwise sized.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    file = coder.encode(pixels, point)
    wall_encoded, cpu_encoded = time.perf_counter(), time.process_time()
    decoded = coder.decode(file, point)
    wall_decoded, cpu_decoded = time.perf_counter(), time.process_time()
    if decoded.shape != pixels.shape:
        raise ValueError(f"{coder.name}: {pixels.shape} came back as {decoded.shape}")
    return {
        "variant": point.variant,
        "quality": point.quality,
        "num_bytes": len(file),
        "bpp": 8 * len(file) / (pixels.shape[0] * pixels.shape[1]),
        **original.scores(to_tensor(decoded))[0].values,
        "encode_seconds": wall_encoded - wall,
        "decode_seconds": wall_decoded - wall_encoded,
        "encode_cpu_seconds": cpu_encoded - cpu,
        "decode_cpu_seconds": cpu_decoded - cpu_encoded,
    }


def mean_points(images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain means over images of each point's values; None where an image has none.

    images: each with `rows`, the same points in the same order.
    """
    points = []
    for rows in zip(*(image["rows"] for image in images), strict=True):
        point = {key: rows[0][key] for key in ("variant", "quality")}
        for key in ("num_bytes", "bpp", *scored(rows[0]), *TIMES):
            values = [row[key] for row in rows]
            point[key] = None if None in values else math.fsum(values) / len(values)
        points.append(point)
    return points


def scored(row: Mapping[str, Any]) -> list[str]:
    """The metrics that a row, or a point, has a column of."""
    return [name for name in METRICS if name in row]


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of the size and the pixels: which image a row is of, whatever its file."""
    shape = np.array(pixels.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
