"""Our codec as the benchmarks see it: a coder of pixels, and what its parts cost."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import ldm_ae
from ldm_ae.bench.coder import Pixels, Point
from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.codec.priors.base import Place
from ldm_ae.codec.priors.distributions import Apart, Distribution
from ldm_ae.pretrained import load_codec

# About 0.03 to 1 bit per pixel with 4 latent channels at f8.
QUALITIES = (8, 12, 16, 20, 24, 28, 32, 37, 42, 48)


class ModelCoder:
    """A folder with a model and its prior. A discrete model has a single point."""

    def __init__(self, name: str, folder: Path, qualities: Sequence[int] = QUALITIES) -> None:
        self.name, self.codec = name, load_codec(folder)
        discrete = self.codec.content.discrete
        self.points = [Point("", 0)] if discrete else [Point("", q) for q in qualities]
        self.qualities: Sequence[float] = [0] if discrete else range(NUM_QUALITIES)
        self.identity = {
            "model_files": _digest(folder, "*.safetensors") + _digest(folder, "config.json"),
            "code": _digest(Path(ldm_ae.__path__[0]), "*.py"),
            "versions": {package: version(package) for package in ("torch", "constriction")},
        }

    def encode(self, pixels: Pixels, point: Point) -> bytes:
        return self.codec.compress(pixels, self._quality(point))

    def decode(self, file: bytes, point: Point) -> Pixels:
        return self.codec.decompress(file)

    def cost(self, pixels: Pixels, point: Point) -> dict[str, Any]:
        """Processor seconds of one image, by part and way, and the sizes of network and prior."""
        codec, quality = self.codec, self._quality(point)
        timed_prior = TimedPrior(codec.prior)
        content: Any = replace(codec.content, prior=timed_prior)  # type: ignore[arg-type]
        network_encode, analysis = _timed(lambda: codec.encode(pixels))
        pack, (symbols, payload) = _timed(lambda: content.pack(analysis.content, quality or 0))
        prior_encode, timed_prior.seconds = timed_prior.seconds, 0.0
        shape = symbols.shape[-2:]
        unpack, found = _timed(lambda: content.unpack(payload, *shape, quality or 0))
        assert np.array_equal(found, symbols)
        unpacked = codec.unpack(codec.pack(analysis, quality))
        network_decode, _ = _timed(lambda: codec.decode(unpacked))
        prior_decode = timed_prior.seconds
        return {
            "quality": point.quality,
            "size": list(pixels.shape[:2]),
            "payload_bytes": len(payload),
            "cross_entropy_bytes": codec.content.bits(symbols, quality or 0) / 8,
            "network": {
                "encode_cpu_seconds": network_encode,
                "decode_cpu_seconds": network_decode,
                "num_parameters": sum(p.numel() for p in codec.model.parameters()),
            },
            "prior": {
                "name": codec.prior.name,
                "encode_cpu_seconds": prior_encode,
                "decode_cpu_seconds": prior_decode,
                "num_values": sum(a.size for a in codec.prior.to_arrays().values()),
            },
            "coder": {
                "encode_cpu_seconds": pack - prior_encode,
                "decode_cpu_seconds": unpack - prior_decode,
            },
        }

    def _quality(self, point: Point) -> int | None:
        return None if self.codec.content.discrete else int(point.quality)


class TimedPrior:
    """A prior that adds up the processor seconds of its predictions."""

    def __init__(self, prior: Any) -> None:
        self.prior, self.seconds = prior, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def passes(self, symbols: np.ndarray, quality: int) -> Iterator[tuple[Place, Distribution]]:
        for place, distribution in self._pieces(self.prior.passes(symbols, quality)):
            if isinstance(distribution, Apart):
                distribution = Apart(self._pieces(iter(distribution.parts)))
            yield place, distribution

    def _pieces(self, pieces: Iterator[Any]) -> Iterator[Any]:
        while True:
            seconds, piece = _timed(lambda: next(pieces, None))
            self.seconds += seconds
            if piece is None:
                return
            yield piece


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _digest(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
