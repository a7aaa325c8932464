"""Vector quantisation with a learned codebook (van den Oord et al. 2017)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ldm_ae.config import NumCodes
from ldm_ae.distributed import sum_over_ranks, take_across_ranks, world
from ldm_ae.errors import UserError
from ldm_ae.noise import mix
from ldm_ae.quantizers.base import Quantized, Quantizer, QuantizerConfig

# Distances are computed in slices of at most this many numbers (256 MB in fp32).
_MAX_DISTANCES = 1 << 26


@dataclass(frozen=True)
class VQConfig(QuantizerConfig):
    """size: K, the number of codes.

    update: `ema` moves each code to the mean of its latents (van den Oord et al. 2017, appendix
        A.1); `gradient` trains it by the codebook loss.
    ema_decay: decay of those means per forward pass.
    beta: weight of the commitment term. With `legacy` it weighs the codebook term instead, as
        taming-transformers and diffusers' VQModel compute it by mistake.
    init: `data` starts from latents of the first training batch, `uniform` from U(-1/K, 1/K).
    l2_normalize: latents and codes are compared on the unit sphere (Yu et al. 2022).
    revive_after: a code that no latent chose for this many training passes is moved onto a
        latent of the current batch; 0 never.
    """

    title: ClassVar[str] = "VQ-regularised autoencoder"

    kind: Literal["vq"] = "vq"
    size: NumCodes = 1024
    update: Literal["ema", "gradient"] = "ema"
    ema_decay: float = 0.99
    beta: float = 0.25
    legacy: bool = False
    init: Literal["data", "uniform"] = "data"
    l2_normalize: bool = False
    revive_after: int = 100

    def __post_init__(self) -> None:
        if self.size < 2:
            raise UserError(f"codebook.size={self.size}: use 2 or more codes")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"codebook.ema_decay={self.ema_decay}: use a value in [0, 1)")
        if self.legacy and self.update == "ema":
            raise UserError(
                "codebook.legacy=true changes the codebook loss, which codebook.update=ema does"
                " not have: set codebook.update=gradient"
            )

    @property
    def num_codes(self) -> int:
        return self.size


def nearest_codes(latents: Tensor, codes: Tensor) -> Tensor:
    """Index of the nearest code: latents (N, d), codes (K, d) -> int64 (N,)."""
    rows = max(1, _MAX_DISTANCES // len(codes))
    # cdist and argmin as diffusers' VQModel has them, so that near ties fall the same way.
    return torch.cat([torch.cdist(part, codes).argmin(dim=1) for part in latents.split(rows)])


class VectorQuantizer(Quantizer):
    """Its only parameter is `embedding.weight` (K, d): the codes, before any normalisation."""

    initialized: Tensor
    num_updates: Tensor
    passes_unused: Tensor
    ema_count: Tensor
    ema_sum: Tensor

    def __init__(self, config: VQConfig, dim: int) -> None:
        super().__init__()
        self.config, self.num_codes = config, config.size
        self.embedding = nn.Embedding(config.size, dim)
        nn.init.uniform_(self.embedding.weight, -1 / config.size, 1 / config.size)
        self.embedding.weight.requires_grad_(config.update == "gradient")
        for name in ("initialized", "num_updates", "passes_unused", "ema_count", "ema_sum"):
            self.register_buffer(name, None)
        self.restart_training()
        self.initialized.fill_(config.init == "uniform")

    def restart_training(self) -> None:
        codes = self.embedding.weight.detach()
        self.initialized = torch.tensor(True, device=codes.device)
        self.num_updates = torch.tensor(0, device=codes.device)
        self.passes_unused = codes.new_zeros(len(codes), dtype=torch.int64)
        self.ema_count = codes.new_ones(len(codes))
        self.ema_sum = codes.clone()

    def codes(self) -> Tensor:
        """The codes as they are decoded, (K, d): on the unit sphere with `l2_normalize`."""
        weight = self.embedding.weight
        # A clone, since revival changes the weight in place before the backward pass reads it.
        return F.normalize(weight.clone(), dim=1) if self.config.l2_normalize else weight

    def indices(self, latents: Tensor) -> Tensor:
        """Latents (B, d, h, w) -> indices of the nearest codes (B, h, w)."""
        flat = self._flatten(latents)
        b, _, h, w = latents.shape
        return nearest_codes(flat, self.codes()).view(b, h, w)

    def training_usage(self) -> dict[str, float]:
        """The share of codes that the last pass chose, and the perplexity of the moving counts."""
        terms = {"codebook_share": float((self.passes_unused == 0).float().mean())}
        if self.config.update == "ema":
            shares = self.ema_count / self.ema_count.sum()
            terms["codebook_perplexity"] = float(torch.special.entr(shares).sum().exp())
        return terms

    def forward(self, latents: Tensor, keys: Tensor | None = None) -> Quantized:
        """Quantise; in training mode also start, move and revive codes."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.embedding.weight.dtype)
            if self.config.l2_normalize:
                latents = F.normalize(latents, dim=1)
            flat = self._flatten(latents.detach())
            if self.training and not self.initialized:
                self._start(flat)
            indices = self.indices(latents.detach())
            codes = self.lookup(indices)
            penalties = self._penalties(latents, codes)
            if self.training:
                self._update(flat, indices.flatten())
            # Straight-through: the decoder's gradient passes to the latents unchanged.
            return Quantized(latents + (codes - latents).detach(), indices, penalties)

    def _flatten(self, latents: Tensor) -> Tensor:
        flat = rearrange(latents.to(self.embedding.weight.dtype), "b d h w -> (b h w) d")
        return F.normalize(flat, dim=1) if self.config.l2_normalize else flat

    def _penalties(self, latents: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Codebook |sg(z) - e|^2 and commitment beta |z - sg(e)|^2 (2017, eq. 3), means."""
        config = self.config
        commitment = F.mse_loss(latents, codes.detach())
        if config.update == "ema":
            return {"commitment": config.beta * commitment}
        codebook = F.mse_loss(codes, latents.detach())
        if config.legacy:
            return {"codebook": config.beta * codebook, "commitment": commitment}
        return {"codebook": codebook, "commitment": config.beta * commitment}

    @torch.no_grad()
    def _start(self, flat: Tensor) -> None:
        """Codes from random latents of all ranks' first batch, each used once if there are
        enough."""
        everyone = torch.arange(self.config.size, device=flat.device)
        self._place(everyone, flat)
        self.initialized.fill_(True)

    @torch.no_grad()
    def _update(self, flat: Tensor, indices: Tensor) -> None:
        one_hot_counts = torch.bincount(indices, minlength=self.config.size).to(flat.dtype)
        counts = sum_over_ranks(one_hot_counts)
        if self.config.update == "ema":
            self._move(flat, indices, counts)
        self.num_updates += 1
        self.passes_unused.copy_(torch.where(counts > 0, 0, self.passes_unused + 1))
        if self.config.revive_after:
            dead = (self.passes_unused >= self.config.revive_after).nonzero().flatten()
            if len(dead):
                self._place(dead, flat)

    def _move(self, flat: Tensor, indices: Tensor, counts: Tensor) -> None:
        """Exponential means with Laplace-smoothed counts (van den Oord et al. 2017, eq. 6-8)."""
        sums = torch.zeros_like(self.ema_sum).index_add_(0, indices, flat)
        decay = self.config.ema_decay
        self.ema_count.lerp_(counts.to(self.ema_count.dtype), 1 - decay)
        self.ema_sum.lerp_(sum_over_ranks(sums), 1 - decay)
        total, epsilon = self.ema_count.sum(), 1e-5
        smooth = (self.ema_count + epsilon) / (total + self.config.size * epsilon) * total
        self.embedding.weight.copy_(self.ema_sum / smooth[:, None])

    def _place(self, which: Tensor, flat: Tensor) -> None:
        """Move the codes `which` onto random latents, the same on every rank, and forget their
        means: old EMA sums would pull a revived code straight back."""
        pool = len(flat) * world()[1]
        generator = torch.Generator().manual_seed(mix(int(self.num_updates), pool))
        order = torch.randperm(pool, generator=generator)
        chosen = order[torch.arange(len(which)) % pool].to(flat.device)
        placed = take_across_ranks(flat, chosen)
        self.embedding.weight[which] = placed
        self.ema_sum[which] = placed
        self.ema_count[which] = 1.0
        self.passes_unused[which] = 0
