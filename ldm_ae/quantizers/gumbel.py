"""The relaxed codebook of a discrete VAE (Ramesh et al. 2021, section 2.1)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ldm_ae.config import NumCodes
from ldm_ae.errors import UserError
from ldm_ae.noise import gumbel_noise
from ldm_ae.quantizers.base import Quantized, Quantizer, QuantizerConfig
from ldm_ae.quantizers.vq import nearest_codes


@dataclass(frozen=True)
class GumbelConfig(QuantizerConfig):
    """size: K, the number of codes.

    temperature_start, temperature_end: the relaxation's temperature goes from one to the other
        by a cosine over the first `temperature_steps` training steps and stays there; DALL-E
        goes from 1 to 1/16 in 150,000.
    """

    title: ClassVar[str] = "discrete VAE, exported with its hard codes"
    loss_is_summed: ClassVar[bool] = True

    kind: Literal["gumbel"] = "gumbel"
    size: NumCodes = 1024
    temperature_start: float = 1.0
    temperature_end: float = 1 / 16
    temperature_steps: int = 150_000

    def __post_init__(self) -> None:
        if self.size < 2:
            raise UserError(f"codebook.size={self.size}: use 2 or more codes")
        if min(self.temperature_start, self.temperature_end) <= 0:
            raise UserError(
                f"codebook.temperature_start={self.temperature_start} and"
                f" temperature_end={self.temperature_end} must both be above 0"
            )
        if self.temperature_steps < 1:
            raise UserError(f"codebook.temperature_steps={self.temperature_steps}: use 1 or more")

    @property
    def num_codes(self) -> int:
        return self.size

    def temperature(self, step: int) -> float:
        """The temperature at a training step."""
        progress = min(step / self.temperature_steps, 1.0)
        blend = 0.5 * (1 + math.cos(math.pi * progress))
        return self.temperature_end + (self.temperature_start - self.temperature_end) * blend


class GumbelQuantizer(Quantizer):
    """Its only parameter is `embedding.weight` (K, d), the directions of the codes.

    The logits are inner products of a latent with the codes, which share one norm. So the most
    likely code is also the nearest one, and a trained dVAE is a VQ model without any change.
    """

    def __init__(self, config: GumbelConfig, dim: int) -> None:
        super().__init__()
        self.config, self.num_codes = config, config.size
        self.embedding = nn.Embedding(config.size, dim)
        self.temperature = config.temperature_start
        # Coordinates of about unit size, as a decoder's first convolution expects.
        self.radius = math.sqrt(dim)

    def codes(self) -> Tensor:
        """The codes as they are decoded, (K, d), all of norm sqrt(d)."""
        return self.radius * F.normalize(self.embedding.weight, dim=1)

    def set_step(self, step: int) -> None:
        self.temperature = self.config.temperature(step)

    def indices(self, latents: Tensor) -> Tensor:
        """Latents (B, d, h, w) -> most likely codes (B, h, w)."""
        b, _, h, w = latents.shape
        flat = rearrange(latents.to(self.embedding.weight.dtype), "b d h w -> (b h w) d")
        return nearest_codes(flat, self.codes()).view(b, h, w)

    def forward(self, latents: Tensor, keys: Tensor | None = None) -> Quantized:
        """Relaxed codes in training mode, hard ones otherwise.

        Penalty `kl_uniform`: KL(q(k|x) || uniform) in nats, mean over positions.
        """
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.embedding.weight.dtype)
            codes = self.codes()
            logits = torch.einsum("bdhw,kd->bkhw", latents, codes)
            log_probs = F.log_softmax(logits, dim=1)
            divergence = (log_probs.exp() * (log_probs + math.log(len(codes)))).sum(dim=1).mean()
            indices = logits.argmax(dim=1)
            if not self.training:
                return Quantized(self.lookup(indices), indices, {"kl_uniform": divergence})
            noisy = (logits + gumbel_noise(logits, keys)) / self.temperature
            relaxed = torch.einsum("bkhw,kd->bdhw", noisy.softmax(dim=1), codes)
            return Quantized(relaxed, indices, {"kl_uniform": divergence})
