"""Does the latent space turn and shrink with the picture? (Kouzelis et al. 2025, EQ-VAE, eq. 5)"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.models.base import Autoencoder


def _half(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, 2)


TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "turn by 90": lambda x: torch.rot90(x, 1, (2, 3)),
    "turn by 180": lambda x: torch.rot90(x, 2, (2, 3)),
    "mirror": lambda x: x.flip(3),
    "half size": _half,
}


@torch.inference_mode()
def equivariance(model: Autoencoder, images: Tensor) -> dict[str, dict[str, float]]:
    """For each transform T, of images (B, C, H, W) in [-1, 1], H and W multiples of 2f:

    latent_error: |E(T x) - T E(x)| over the deviation of E(T x), both root mean squares; 0 is
        equivariant, 1.4 unrelated.
    psnr_through_latents: of D(T E(x)) against T x, dB; psnr_itself: of D(E(T x)), which is what
        could be had.
    """
    latents = model.encode(images)
    found = {}
    for name, transform in TRANSFORMS.items():
        target = transform(images)
        own, moved = model.encode(target), transform(latents)
        deviation = (own - own.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt()
        found[name] = {
            "latent_error": float((own - moved).square().mean().sqrt() / deviation),
            "psnr_through_latents": _psnr(model.decode(moved), target),
            "psnr_itself": _psnr(model.decode(own), target),
        }
    return found


def _psnr(images: Tensor, targets: Tensor) -> float:
    """Of images in [-1, 1], clamped: a peak of 2."""
    error = (images.clamp(-1, 1) - targets).square().mean().clamp(min=1e-12)
    return float(10 * torch.log10(4 / error))
