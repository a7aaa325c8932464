"""Does the diffusers class compute what our model computes?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder

TOLERANCE = 1e-4
# Two codes are tied if their squared distances differ by less than fp32 resolves in |z|^2 + |e|^2.
_TIE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """Largest differences, each as a share of the largest value.

    num_ties: tokens of `num_tokens` for which the two chose different codes at equal distance.
    """

    encode: float
    decode: float
    num_tokens: int = 0
    num_ties: int = 0


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """max |ours - theirs| / max |theirs|; infinite if any value is not finite."""
    if ours.shape != theirs.shape or not (ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    largest = float(theirs.abs().max())
    difference = float((ours - theirs).abs().max())
    return difference / largest if largest > 0 else (float("inf") if difference else 0.0)


@torch.no_grad()
def compare(model: Autoencoder, exported: Any, images: list[Tensor]) -> Agreement:
    """Worst agreement over batches (B, C, H, W), for the latents of the images and random ones.

    model: ours, exported: the diffusers class, both fp32 on the CPU. With a codebook both decode
    the same latents; a token whose two nearest codes are equally far may go either way in fp32, so
    there the decoders are compared on the exported class' choice, and such tokens are counted.

    Raises UserError if the two choose codes whose distances differ.
    """
    worst = Agreement(0.0, 0.0)
    for batch in images:
        latents, encode = _encode(model, exported, batch)
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(latents.shape, generator=random) * latents.std() + latents.mean()
        for chosen in (latents, noise):
            decode, ties = _decode(model, exported, chosen)
            worst = Agreement(
                max(worst.encode, encode),
                max(worst.decode, decode),
                worst.num_tokens + (0 if model.quantizer is None else chosen[:, 0].numel()),
                worst.num_ties + ties,
            )
    return worst


def probes(model: Autoencoder) -> Tensor:
    """Random images (1, C, H, W) of a size that the model takes, not square."""
    factor = model.downsampling_factor
    side = max(32, 2 * factor)
    shape = (1, model.image_channels, side, side + factor)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def check(agreement: Agreement, other: str = "the diffusers class") -> None:
    """Raise UserError unless both differences are within TOLERANCE."""
    for name in ("encode", "decode"):
        difference = getattr(agreement, name)
        if not difference <= TOLERANCE:
            raise UserError(
                f"refused to write: {name} of {other} differs by {difference:.2e} of the largest"
                f" value, {TOLERANCE:.0e} is allowed; the weights may be too large for fp32 or not"
                " finite"
            )


def _encode(model: Autoencoder, exported: Any, images: Tensor) -> tuple[Tensor, float]:
    ours, posterior = model.latents_and_posterior(images)
    encoded = exported.encode(images)
    if not hasattr(encoded, "latent_dist"):
        return ours, relative_difference(ours, encoded.latents)
    difference = relative_difference(ours, encoded.latent_dist.mode())
    if posterior is not None:
        logvar = relative_difference(posterior.logvar, encoded.latent_dist.logvar)
        difference = max(difference, logvar)
    return ours, difference


def _decode(model: Autoencoder, exported: Any, latents: Tensor) -> tuple[float, int]:
    theirs = exported.decode(latents).sample
    if model.quantizer is None:
        return relative_difference(model.decode(latents), theirs), 0
    ours = model.quantizer.indices(latents)
    chosen = exported.quantize(latents)[2][2].view(ours.shape)
    differs = ours != chosen
    if differs.any():
        _require_ties(
            rearrange(latents, "b d h w -> b h w d")[differs],
            exported.quantize.embedding.weight,
            ours[differs],
            chosen[differs],
        )
    return relative_difference(model.decode_indices(chosen), theirs), int(differs.sum())


def _require_ties(latents: Tensor, codes: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """latents (N, d); codes (K, d); ours, theirs: indices (N,)."""
    latents, codes = latents.double(), codes.double()
    squared = [(latents - codes[indices]).square().sum(dim=1) for indices in (ours, theirs)]
    scale = latents.square().sum(dim=1) + codes.square().sum(dim=1).max()
    gap = ((squared[0] - squared[1]).abs() / scale).max()
    if not gap <= _TIE:
        raise UserError(
            f"refused to write: {len(ours)} tokens get other codes than in the class that it is"
            f" compared with, at squared distances that differ by {float(gap):.2e} of |z|^2 + |e|^2"
        )
