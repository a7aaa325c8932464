"""Ways in which people keep latents on disk: float32 (C, h, w) to bytes and back.

Only `fp32`, its `npz` and the lossless wrappings of a lossy way keep what they were given. What is
lost is judged by the decoded pictures.
"""

from __future__ import annotations

import io
import lzma
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

from ldm_ae.codec.codec import Analysis, Codec
from ldm_ae.data.images import to_uint8
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Original, Scores, mean_scores
from ldm_ae.metrics.table import METRICS

Latents = NDArray[np.float32]
KEY = "latents"
NUM_READS = 3


@dataclass(frozen=True)
class Storage:
    """name: of the row. save: float32 (C, h, w) -> the file. load: the file -> float32."""

    name: str
    save: Callable[[Latents], bytes]
    load: Callable[[bytes], Latents]


@dataclass(frozen=True)
class ChannelRange:
    """Each channel's values as 0..255, affine between `low` and `high`, float32 (C, 1, 1).

    imagenet.int8 does so with one range for all channels, +-12 for SDXL's latents.
    """

    low: Latents
    high: Latents

    @classmethod
    def of(cls, latents: Sequence[Latents]) -> ChannelRange:
        """The lowest and highest value of each channel over a set: nothing is clipped."""
        flat = np.concatenate([item.reshape(len(item), -1) for item in latents], axis=1)
        low, high = (bound.reshape(-1, 1, 1) for bound in (flat.min(axis=1), flat.max(axis=1)))
        return cls(low, np.maximum(high, low + 1e-6))

    def to_bytes(self, latents: Latents) -> NDArray[np.uint8]:
        scaled = (latents - self.low) / (self.high - self.low)
        return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)

    def to_latents(self, values: NDArray[np.uint8]) -> Latents:
        latents: Latents = values.astype(np.float32) / 255 * (self.high - self.low) + self.low
        return latents


def storages(shape: tuple[int, int, int], channels: ChannelRange) -> list[Storage]:
    """All ways for latents of one shape (C, h, w)."""
    codes = np.zeros(shape, np.uint8)

    def save_int8(latents: Latents) -> bytes:
        return save({KEY: channels.to_bytes(latents)})

    def load_int8(file: bytes) -> Latents:
        return channels.to_latents(load(file)[KEY])

    def save_lzma_int8(latents: Latents) -> bytes:
        return lzma.compress(channels.to_bytes(latents).tobytes())

    def load_lzma_int8(file: bytes) -> Latents:
        values = np.frombuffer(lzma.decompress(file), np.uint8)
        return channels.to_latents(values.reshape(codes.shape))

    def webp(name: str, **options: int | bool) -> Storage:
        return Storage(
            name,
            lambda latents: _save_webp(channels.to_bytes(latents), **options),
            lambda file: channels.to_latents(_load_webp(file, codes.shape)),
        )

    return [
        Storage("fp32", lambda z: save({KEY: z}), lambda file: load(file)[KEY]),
        Storage("fp16", lambda z: save({KEY: z.astype(np.float16)}), _load_fp16),
        Storage("int8", save_int8, load_int8),
        Storage("npz of fp32", _save_npz, _load_npz),
        Storage("npz of fp16", lambda z: _save_npz(z.astype(np.float16)), _load_npz),
        Storage("LZMA of int8", save_lzma_int8, load_lzma_int8),
        webp("WebP of int8, lossless", lossless=True, quality=100, method=6),
        webp("WebP of int8, quality 95", quality=95, method=6),
        webp("WebP of int8, quality 80", quality=80, method=6),
    ]


def our_storage(codec: Codec, quality: int, size: int) -> Storage:
    """The codec's files, of latents of images of `size` pixels a side. Raises UserError for a
    codec of code indices."""
    if codec.content.discrete:
        raise UserError("a model of code indices has no latents to store")

    def save_ours(latents: Latents) -> bytes:
        # To the nearest: training wants the latents, not what looks best for the bits.
        return codec.pack(Analysis(latents, size, size, False, None), quality, lagrangian=0)

    def load_ours(file: bytes) -> Latents:
        latents: Latents = codec.latents(file)[0].numpy()
        return latents

    return Storage(f"ours, quality {quality}", save_ours, load_ours)


class Judge:
    """Scores of latents against one original; several ways store the same ones."""

    def __init__(self, codec: Codec, original: Original) -> None:
        self.model, self.original = codec.model, original
        self.known: dict[bytes, Scores] = {}

    @torch.inference_mode()
    def scores(self, latents: Latents) -> Scores:
        key = latents.tobytes()
        if key not in self.known:
            batch = torch.from_numpy(np.array(latents))[None]
            images = self.model.decode(batch.to(next(self.model.parameters()).device))
            self.known[key] = self.original.scores(to_uint8(images))[0]
        return self.known[key]


def measure(
    way: Storage,
    latents: Sequence[Latents],
    judges: Sequence[Judge],
    after_file: Callable[[], object],
) -> dict[str, Any]:
    """A row without the columns that need the others'."""
    files = [way.save(item) for item in latents]
    seconds = min(_read_seconds(way, files) for _ in range(NUM_READS))
    scores = []
    for file, judge in zip(files, judges, strict=True):
        scores.append(judge.scores(way.load(file)))
        after_file()
    num_bytes = sum(map(len, files)) / len(files)
    return {
        "name": way.name,
        "bytes": num_bytes,
        "bits_per_value": 8 * num_bytes / latents[0].size,
        "reads_per_second": len(files) / seconds,
    } | mean_scores(scores).values


def add_comparisons(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
    """Add what is relative: to int8's bytes, to the quality of the uncoded latents."""
    by_name = {row["name"]: row for row in rows}
    uncoded, int8 = by_name["fp32"], by_name["int8"]
    for row in rows:
        row["of_int8"] = row["bytes"] / int8["bytes"]
        for name in metrics:
            before, after = uncoded[name], row[name]
            sign = 1 if METRICS[name].higher_is_better else -1
            known = before is not None and after is not None
            row[f"{name}_lost"] = sign * (before - after) if known else None


def _read_seconds(way: Storage, files: Sequence[bytes]) -> float:
    start = time.process_time()
    for file in files:
        way.load(file)
    return max(time.process_time() - start, 1e-9)


def _load_fp16(file: bytes) -> Latents:
    return load(file)[KEY].astype(np.float32)


def _save_npz(latents: NDArray[np.floating]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{KEY: latents})  # type: ignore[arg-type]  # KEY is no option
    return buffer.getvalue()


def _load_npz(file: bytes) -> Latents:
    with np.load(io.BytesIO(file), allow_pickle=False) as content:
        latents: Latents = content[KEY].astype(np.float32)
    return latents


def _save_webp(codes: NDArray[np.uint8], **options: int | bool) -> bytes:
    """The channels one above the other, as a grey picture."""
    buffer = io.BytesIO()
    picture = Image.fromarray(codes.reshape(-1, codes.shape[2])).convert("RGB")
    picture.save(buffer, format="webp", **options)
    return buffer.getvalue()


def _load_webp(file: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file), formats=["webp"]) as picture:
        return np.array(picture.convert("RGB"))[:, :, 1].reshape(shape)
