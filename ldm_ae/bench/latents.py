"""Latents as files before any entropy coding: what a latent space costs as it is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldm_ae.bench.coder import Pixels, Point
from ldm_ae.bench.pca import PatchPCA
from ldm_ae.data.images import pad_to_multiple, to_float, to_uint8
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.quantizers.usage import codebook_usage, count_codes

_SIZE = struct.Struct("<HH")  # width, height


class RawLatents:
    """An autoencoder in eval mode, or a PCA, as a coder of RGB pictures: fp16 for each number,
    ceil(log2 K) bits for each code of a codebook, behind four bytes of size."""

    points = (Point("", 0),)
    qualities: Sequence[float] = (0,)

    def __init__(
        self,
        name: str,
        model: Autoencoder | PatchPCA,
        device: torch.device | str = "cpu",
        **facts: Any,
    ) -> None:
        """facts: what else to say of it. Raises UserError for a model of other than RGB."""
        if isinstance(model, Autoencoder) and model.image_channels != 3:
            raise UserError(f"{name} has {model.image_channels} image channels, RGB needs 3")
        self.name, self.device = name, device
        self.model: Any = model
        self.identity: dict[str, Any] = {}
        self.known_facts = facts
        quantizer = model.quantizer if isinstance(model, Autoencoder) else None
        self.num_codes: int | None = quantizer.num_codes if quantizer else None
        self.counts = torch.zeros(self.num_codes or 0, dtype=torch.int64)

    @torch.inference_mode()
    def encode(self, pixels: Pixels, point: Point = points[0]) -> bytes:
        height, width = pixels.shape[:2]
        images = to_float(pixels).to(self.device)
        padded, _ = pad_to_multiple(images, self.model.downsampling_factor)
        if self.num_codes is None:
            latents = self._latents(padded).half().cpu().numpy()
            return _SIZE.pack(width, height) + latents.tobytes()
        codes = self.model.encode_indices(padded).cpu()
        self.counts += count_codes(codes, self.num_codes)
        return _SIZE.pack(width, height) + pack_codes(codes.numpy(), self.num_codes)

    def _latents(self, images: Tensor) -> Tensor:
        latents: Tensor = self.model.encode(images)
        return latents

    @torch.inference_mode()
    def decode(self, file: bytes, point: Point = points[0]) -> Pixels:
        """Raises UserError if the decoded image is not finite."""
        width, height = _SIZE.unpack_from(file)
        payload, factor = file[_SIZE.size :], self.model.downsampling_factor
        h, w = -(-height // factor), -(-width // factor)
        if self.num_codes is None:
            numbers = np.frombuffer(payload, np.float16).astype(np.float32)
            latents = torch.from_numpy(numbers.reshape(1, -1, h, w))
            images: Tensor = self.model.decode(latents.to(self.device))
        else:
            codes = torch.from_numpy(unpack_codes(payload, h * w, self.num_codes))
            images = self.model.decode_indices(codes.view(1, h, w).to(self.device))
        if not torch.isfinite(images).all():
            raise UserError(f"{self.name}: a reconstruction is not finite: check the weights")
        decoded: Pixels = to_uint8(images)[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        return decoded

    def facts(self) -> dict[str, Any]:
        """Sizes, and the use of the codebook over all that was encoded."""
        facts: dict[str, Any] = {
            "downsampling_factor": self.model.downsampling_factor,
            "latent_channels": self.model.latent_channels,
            **self.known_facts,
        }
        if isinstance(self.model, Autoencoder):
            facts["num_parameters"] = sum(p.numel() for p in self.model.parameters())
        if self.num_codes is not None:
            facts["codebook"] = {"size": self.num_codes} | asdict(codebook_usage(self.counts))
        return facts


class BorrowedLatents(RawLatents):
    """What a decoder makes of another model's latents, as a pipeline hands them on: scaled by the
    one, unscaled by the other. So a small decoder is judged by the latents that it is for."""

    def __init__(
        self,
        name: str,
        model: Autoencoder,
        encoder: Autoencoder,
        device: torch.device | str = "cpu",
        **facts: Any,
    ) -> None:
        """Raises UserError for latents of another shape than the decoder takes, and for codes."""
        super().__init__(name, model, device, **facts)
        self.encoder = encoder
        theirs, ours = (
            (
                each.quantizer is None,
                each.image_channels,
                each.latent_channels,
                each.downsampling_factor,
            )
            for each in (encoder, model)
        )
        if theirs != ours or self.num_codes is not None:
            raise UserError(
                f"{name} has {ours[2]} latent channels at f{ours[3]}, the encoder {theirs[2]} at"
                f" f{theirs[3]}: both must be alike, of {ours[1]} image channels and without a"
                " codebook"
            )

    def _latents(self, images: Tensor) -> Tensor:
        theirs, ours = self.encoder, self.model
        scaled = (theirs.encode(images) - theirs.shift_factor) * theirs.scaling_factor
        latents: Tensor = scaled / ours.scaling_factor + ours.shift_factor
        return latents


def pack_codes(codes: np.ndarray, num_codes: int) -> bytes:
    """Codes in [0, K) of any shape, ceil(log2 K) bits each, filled up to a whole byte."""
    places = np.arange((num_codes - 1).bit_length())
    return np.packbits(codes.reshape(-1, 1) >> places & 1).tobytes()


def unpack_codes(file: bytes, count: int, num_codes: int) -> np.ndarray:
    """The int64 (count,) codes that `pack_codes` packed."""
    places = np.arange((num_codes - 1).bit_length())
    bits = np.unpackbits(np.frombuffer(file, np.uint8), count=count * len(places))
    found: np.ndarray = (bits.reshape(count, -1).astype(np.int64) << places).sum(axis=1)
    return found
