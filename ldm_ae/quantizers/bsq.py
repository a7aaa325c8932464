"""Binary spherical quantisation (Zhao et al. 2024, arXiv:2406.07548): signs on the unit sphere."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.distributed import sum_over_ranks, world
from ldm_ae.errors import UserError
from ldm_ae.quantizers.base import Quantized, Quantizer, QuantizerConfig

_MAX_BITS, _MAX_TABLE_BITS = 62, 16
_EPSILON = 1e-6


@dataclass(frozen=True)
class BSQConfig(QuantizerConfig):
    """bits: d, the length of a code; the codes are the 2^d corners (+-1/sqrt(d), ...).

    entropy_weight: of the mean entropy of a latent's soft choice of a corner (low: it is sure),
        less `diversity` times the entropy of the mean choice (high: all corners are used), both in
        nats a bit. inverse_temperature: tau, the sharpness of the soft choice.
    beta: weight of the commitment |u - sg(code)|^2, u being the latent on the sphere; 0 is off.
    """

    title: ClassVar[str] = "autoencoder with binary spherical quantisation"

    kind: Literal["bsq"] = "bsq"
    bits: int = 12
    entropy_weight: float = 0.1
    diversity: float = 1.0
    inverse_temperature: float = 10.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= _MAX_BITS:
            raise UserError(f"codebook.bits={self.bits}: use 1 to {_MAX_BITS}")
        for name in ("entropy_weight", "diversity", "beta"):
            if getattr(self, name) < 0:
                raise UserError(f"codebook.{name}={getattr(self, name)}: use 0 (off) or more")
        if self.inverse_temperature <= 0:
            raise UserError(
                f"codebook.inverse_temperature={self.inverse_temperature}: use a positive number"
            )

    @property
    def num_codes(self) -> int:
        return int(2**self.bits)

    @property
    def dim(self) -> int:
        return self.bits

    def require_table(self) -> None:
        if self.bits > _MAX_TABLE_BITS:
            raise UserError(
                f"codebook.bits={self.bits}: diffusers' VQModel holds every code, and 2^{self.bits}"
                f" are too many for its table; to export, use {_MAX_TABLE_BITS} bits or fewer"
            )


class BinarySphericalQuantizer(Quantizer):
    """Without parameters. Bit k of an index is the sign of a latent's value k."""

    def __init__(self, config: BSQConfig, dim: int) -> None:
        super().__init__()
        assert dim == config.bits
        self.config, self.num_codes = config, config.num_codes

    def indices(self, latents: Tensor) -> Tensor:
        return ((latents > 0).long() << self._places(latents)).sum(dim=1)

    def lookup(self, indices: Tensor) -> Tensor:
        bits = (indices[:, None] >> self._places(indices)) & 1  # (B, d, h, w)
        return (2.0 * bits - 1) / math.sqrt(self.config.bits)

    def _places(self, like: Tensor) -> Tensor:
        return torch.arange(self.config.bits, device=like.device)[:, None, None]

    def codes(self) -> Tensor:
        self.config.require_table()
        return self.lookup(torch.arange(self.num_codes).view(1, 1, -1))[0, :, 0].T

    def forward(self, latents: Tensor, keys: Tensor | None = None) -> Quantized:
        """Straight-through on the sphere; penalties `entropy` and `commitment`, where weighed."""
        config = self.config
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
            sphere = F.normalize(latents, dim=1)
            indices = self.indices(latents)
            codes = self.lookup(indices).to(sphere.dtype)
            penalties = {}
            if config.entropy_weight > 0:
                penalties["entropy"] = config.entropy_weight * self._entropy(sphere)
            if config.beta > 0:
                penalties["commitment"] = config.beta * F.mse_loss(sphere, codes)
            return Quantized(sphere + (codes - sphere).detach(), indices, penalties)

    def _entropy(self, sphere: Tensor) -> Tensor:
        """E[H(q)] - diversity H(E[q]) for the soft choice q(c|u) ~ exp(tau u.c) of a corner, in
        nats a bit. It factorises into a Bernoulli of sigmoid(2 tau u_k c_k) for each bit, and so,
        in the paper's approximation, does its mean."""
        logits = 2 * self.config.inverse_temperature / math.sqrt(self.config.bits) * sphere
        p = torch.sigmoid(logits)
        each = F.softplus(logits) - p * logits  # entropies, exact where p is next to 1
        mine = p.mean(dim=(0, 2, 3))  # (d,)
        # All ranks' mean, with this rank's gradient: DDP's average is then the whole batch's.
        everyone = mine + (sum_over_ranks(mine) / world()[1] - mine).detach()
        everyone = everyone.clamp(_EPSILON, 1 - _EPSILON)  # the slope is infinite at 0 and 1
        spread = torch.special.entr(everyone) + torch.special.entr(1 - everyone)
        return each.mean() - self.config.diversity * spread.mean()
