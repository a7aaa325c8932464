"""Ways in which people keep latents on disk: float32 (C, h, w) to bytes and back.

Only `fp32`, its `npz` and the lossless wrappings of a lossy way keep what they were given.
"""

import io
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

Latents = NDArray[np.float32]
KEY = "latents"


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
    def of(cls, latents: Sequence[Latents]) -> "ChannelRange":
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
