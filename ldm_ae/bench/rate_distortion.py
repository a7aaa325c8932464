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
from ldm_ae.data.images import to_float
from ldm_ae.losses.feature_distance import feature_distance
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.metrics.distortion import ms_ssim, psnr

METRICS = ("psnr", "ms_ssim", "lpips")
TIMES = ("encode_seconds", "decode_seconds", "encode_cpu_seconds", "decode_cpu_seconds")
HIGHER_IS_BETTER = {"psnr": True, "ms_ssim": True, "lpips": False}


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


class Scorer:
    """PSNR, MS-SSIM and LPIPS against one original, whose features are computed once."""

    def __init__(self, original: Pixels, perceptual: PerceptualLoss | None) -> None:
        self.original, self.perceptual = _to_uint8_tensor(original), perceptual
        self.features = None if perceptual is None else self._features(original)

    def scores(self, pixels: Pixels) -> dict[str, float | None]:
        """Values by metric; None where the image is too small, equal to the original (PSNR) or
        there is no network."""
        return self.psnr_and_lpips(pixels) | {"ms_ssim": self._ms_ssim(_to_uint8_tensor(pixels))}

    def psnr_and_lpips(self, pixels: Pixels) -> dict[str, float | None]:
        """`scores` without MS-SSIM, which takes longer than the other two."""
        decibels = psnr(self.original, _to_uint8_tensor(pixels)).item()
        return {
            "psnr": decibels if math.isfinite(decibels) else None,
            "lpips": self._lpips(pixels),
        }

    def _ms_ssim(self, decoded: Tensor) -> float | None:
        try:
            return ms_ssim(self.original, decoded).item()
        except ValueError:  # under 161 pixels a side
            return None

    def _lpips(self, pixels: Pixels) -> float | None:
        if self.perceptual is None or self.features is None:
            return None
        weights = self.perceptual.network.level_weights()
        with torch.inference_mode():
            decoded = self._features(pixels)
            assert decoded is not None, "of the original's size"
            distance = feature_distance(self.features, decoded, weights)
        return distance.item()

    def _features(self, pixels: Pixels) -> Sequence[Tensor] | None:
        assert self.perceptual is not None
        if min(pixels.shape[:2]) < self.perceptual.network.min_size:
            return None
        with torch.inference_mode():
            features: Sequence[Tensor] = self.perceptual.network.features(to_float(pixels))
        return features


def measure_point(coder: Coder, point: Point, pixels: Pixels, scorer: Scorer) -> dict[str, Any]:
    """Bytes, bpp, scores and times of one image. Raises ValueError if it comes back otherwise
    sized."""
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
        **scorer.scores(decoded),
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
        for key in ("num_bytes", "bpp", *METRICS, *TIMES):
            values = [row[key] for row in rows]
            point[key] = None if None in values else math.fsum(values) / len(values)
        points.append(point)
    return points


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of the size and the pixels: which image a row is of, whatever its file."""
    shape = np.array(pixels.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _to_uint8_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]  # (1, 3, H, W)
