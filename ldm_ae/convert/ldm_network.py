"""LDM's networks computed from its weights as they are stored, by its own names: what a converted
model is compared with. Rombach et al. 2022, appendix D.1; Esser et al. 2021, table 7."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ldm_ae.models.gaussian import DiagonalGaussian

_GROUPS, _EPS = 32, 1e-6


class LDMNetwork:
    """With the calls of diffusers' classes that `agreement.compare` makes.

    It takes the levels and blocks that it finds names for, and knows nothing of the package's own
    models: a weight under a wrong name shows as another output.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.quantize: Any = None
        if "quantize.embedding.weight" in weights:
            self.quantize = _Codebook(weights["quantize.embedding.weight"].float())

    def encode(self, images: Tensor) -> Any:
        """Images (B, C, H, W) -> `.latents` (B, c, h, w), or `.latent_dist`."""
        x = self._conv("encoder.conv_in", images)
        last = self._count("encoder.down.{}.block.0.conv1.weight") - 1
        for level in range(last + 1):
            x = self._blocks(f"encoder.down.{level}", x)
            if level < last:  # padded on the right and below alone
                x = F.pad(x, (0, 1, 0, 1))
                x = self._conv(f"encoder.down.{level}.downsample.conv", x, stride=2, padding=0)
        x = self._conv(
            "encoder.conv_out", self._normed("encoder.norm_out", self._mid("encoder", x))
        )
        if "quant_conv.weight" in self.weights:
            x = self._conv("quant_conv", x, padding=0)
        if self.quantize is not None:
            return SimpleNamespace(latents=x)
        return SimpleNamespace(latent_dist=DiagonalGaussian.from_moments(x))

    def decode(self, latents: Tensor) -> Any:
        """Latents (B, c, h, w), before a codebook -> `.sample`, images (B, C, H, W)."""
        if self.quantize is not None:
            codes = F.embedding(self.quantize.indices(latents), self.quantize.embedding.weight)
            latents = rearrange(codes, "b h w d -> b d h w")
        if "post_quant_conv.weight" in self.weights:
            latents = self._conv("post_quant_conv", latents, padding=0)
        x = self._mid("decoder", self._conv("decoder.conv_in", latents))
        for level in reversed(range(self._count("decoder.up.{}.block.0.conv1.weight"))):
            x = self._blocks(f"decoder.up.{level}", x)
            if level > 0:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
                x = self._conv(f"decoder.up.{level}.upsample.conv", x)
        x = self._conv("decoder.conv_out", self._normed("decoder.norm_out", x))
        return SimpleNamespace(sample=x)

    def _count(self, name: str) -> int:
        number = 0
        while name.format(number) in self.weights:
            number += 1
        return number

    def _blocks(self, level: str, x: Tensor) -> Tensor:
        for block in range(self._count(level + ".block.{}.conv1.weight")):
            x = self._resnet(f"{level}.block.{block}", x)
            if f"{level}.attn.{block}.q.weight" in self.weights:
                x = self._attention(f"{level}.attn.{block}", x)
        return x

    def _mid(self, coder: str, x: Tensor) -> Tensor:
        x = self._resnet(f"{coder}.mid.block_1", x)
        if f"{coder}.mid.attn_1.q.weight" in self.weights:
            x = self._attention(f"{coder}.mid.attn_1", x)
        return self._resnet(f"{coder}.mid.block_2", x)

    def _resnet(self, name: str, x: Tensor) -> Tensor:
        hidden = self._conv(f"{name}.conv1", self._normed(f"{name}.norm1", x))
        hidden = self._conv(f"{name}.conv2", self._normed(f"{name}.norm2", hidden))
        if f"{name}.nin_shortcut.weight" in self.weights:
            x = self._conv(f"{name}.nin_shortcut", x, padding=0)
        return x + hidden

    def _attention(self, name: str, x: Tensor) -> Tensor:
        normed = self._norm(f"{name}.norm", x)
        q, k, v = (self._conv(f"{name}.{part}", normed, padding=0).flatten(2) for part in "qkv")
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * q.shape[1] ** -0.5, dim=2)
        attended = torch.einsum("bij,bcj->bci", weights, v).view(x.shape)
        return x + self._conv(f"{name}.proj_out", attended, padding=0)

    def _normed(self, name: str, x: Tensor) -> Tensor:
        x = self._norm(name, x)
        return x * torch.sigmoid(x)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, _GROUPS, *self._parameters(name), eps=_EPS)

    def _conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        weight, bias = self._parameters(name)
        if weight.ndim == 2:  # attention that was stored as linear layers
            weight = weight[:, :, None, None]
        return F.conv2d(x, weight, bias, stride, padding)

    def _parameters(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"].float(), self.weights[f"{name}.bias"].float()


class _Codebook:
    def __init__(self, codes: Tensor) -> None:
        self.embedding = SimpleNamespace(weight=codes)

    def indices(self, latents: Tensor) -> Tensor:
        """(B, d, h, w) -> nearest codes (B, h, w)."""
        b, _, h, w = latents.shape
        rows = rearrange(latents, "b d h w -> (b h w) d")
        return torch.cdist(rows, self.embedding.weight).argmin(1).view(b, h, w)

    def __call__(self, latents: Tensor) -> Any:
        return None, None, (None, None, self.indices(latents))
