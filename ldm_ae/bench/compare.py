"""Ways to code an image side by side: autoencoders, PCA, JPEG and WebP, a row of scores each.

bpp of JPEG and WebP is the size of the file. bpp of a latent is raw: fp16 for each number,
ceil(log2 K) bits for each code; no entropy coder, no header.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor

from ldm_ae.bench.image_codecs import ImageCodec
from ldm_ae.bench.pca import PatchPCA
from ldm_ae.bench.rates import RGB_BITS_PER_PIXEL, continuous_bits, index_bits
from ldm_ae.data.images import pad_to_multiple, to_float, to_uint8
from ldm_ae.metrics.panel import Panel, Scores, mean_scores
from ldm_ae.metrics.table import ON_PAIRS
from ldm_ae.models.base import Autoencoder
from ldm_ae.quantizers.usage import codebook_usage, count_codes

COLUMNS = (*ON_PAIRS, "bpp", "compression_ratio")


class Method(Protocol):
    """name: of the row. kind: "jpeg", "webp", "pca" or a model's."""

    name: str
    kind: str

    def reconstruct(self, image: Tensor) -> tuple[Tensor, int]:
        """(1, 3, H, W) in [-1, 1] -> the reconstruction and the bits it is made from."""
        ...

    def facts(self) -> dict[str, Any]:
        """What else the row should say, once all images have passed."""
        ...


class CodecMethod:
    def __init__(self, codec: ImageCodec) -> None:
        self.codec, self.name = codec, codec.name
        self.kind: str = codec.format

    def reconstruct(self, image: Tensor) -> tuple[Tensor, int]:
        pixels = to_uint8(image)[0].permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
        file = self.codec.encode(pixels)
        return to_float(self.codec.decode(file)).to(image.device), 8 * len(file)

    def facts(self) -> dict[str, Any]:
        return {"quality": self.codec.quality}


class PCAMethod:
    kind = "pca"

    def __init__(self, name: str, pca: PatchPCA, num_fit_images: int) -> None:
        self.name, self.pca, self.num_fit_images = name, pca, num_fit_images

    def reconstruct(self, image: Tensor) -> tuple[Tensor, int]:
        height, width = image.shape[2:]
        bits = continuous_bits(height, width, self.pca.patch_size, len(self.pca.components))
        return self.pca.reconstruct(image.cpu()).to(image.device), bits

    def facts(self) -> dict[str, Any]:
        return {
            "downsampling_factor": self.pca.patch_size,
            "latent_channels": len(self.pca.components),
            "num_fit_images": self.num_fit_images,
        }


class ModelMethod:
    """An autoencoder in eval mode; of a codebook, the codes are counted."""

    def __init__(self, name: str, model: Autoencoder) -> None:
        self.name, self.model, self.kind = name, model, model.config.kind
        num_codes = 0 if model.quantizer is None else model.quantizer.num_codes
        self.counts = torch.zeros(num_codes, dtype=torch.int64)

    def reconstruct(self, image: Tensor) -> tuple[Tensor, int]:
        factor, (height, width) = self.model.downsampling_factor, image.shape[2:]
        if self.model.quantizer is None:
            bits = continuous_bits(height, width, factor, self.model.latent_channels)
            return self.model.reconstruct(image), bits
        codes = self.model.encode_indices(pad_to_multiple(image, factor)[0])
        self.counts += count_codes(codes, len(self.counts)).cpu()
        bits = index_bits(height, width, factor, len(self.counts))
        return self.model.decode_indices(codes)[..., :height, :width], bits

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "downsampling_factor": self.model.downsampling_factor,
            "latent_channels": self.model.latent_channels,
            "num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
        }
        if self.model.quantizer is not None:
            facts["codebook"] = {"size": len(self.counts)} | asdict(codebook_usage(self.counts))
        return facts


def measure(method: Method, images: Iterable[tuple[str, Tensor]], panel: Panel) -> dict[str, Any]:
    """The row of `method`: means of the per-image values, and under `images` the values.

    images: (name, (1, 3, H, W) in [-1, 1]). A value that cannot be had is None and `reasons`
    says why. A mean's compression ratio is 24 over the mean bpp.
    """
    image_rows: list[dict[str, Any]] = []
    scores: list[Scores] = []
    with torch.inference_mode():
        for name, image in images:
            reconstruction, bits = method.reconstruct(image)
            scores += panel.score(image, reconstruction)
            height, width = image.shape[2:]
            image_rows.append(
                {"name": name, "width": width, "height": height, "bits": bits}
                | _values(scores[-1], bits / (height * width))
            )
    mean_bpp = math.fsum(row["bpp"] for row in image_rows) / max(len(image_rows), 1)
    return (
        {"name": method.name, "kind": method.kind}
        | _values(mean_scores(scores), mean_bpp)
        | method.facts()
        | {"num_images": len(image_rows), "images": image_rows}
    )


def missing_row(name: str, kind: str, reason: str) -> dict[str, Any]:
    """The row of a method that could not be run: every value None, for `reason`."""
    reasons = dict.fromkeys(COLUMNS, reason)
    values = dict.fromkeys(COLUMNS)
    return (
        {"name": name, "kind": kind} | values | {"reasons": reasons, "num_images": 0, "images": []}
    )


def _values(scores: Scores, bpp: float) -> dict[str, Any]:
    rates = {"bpp": bpp, "compression_ratio": RGB_BITS_PER_PIXEL / bpp}
    return {"reasons": scores.reasons} | scores.values | rates
