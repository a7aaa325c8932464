"""Pictures of a latent space, (C, H, W) in [-1, 1]: colours, interpolations, what chance makes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from ldm_ae.models.base import Autoencoder


def latents_as_colours(latents: Sequence[Tensor], scale: int) -> list[Tensor]:
    """Each latents (c, h, w) as a picture (3, h scale, w scale) in [-1, 1]: the first three
    principal components over all of them, from their 1st to their 99th percentile."""
    rows = torch.cat([rearrange(each.double(), "c h w -> (h w) c") for each in latents])
    mean = rows.mean(dim=0)
    _, vectors = torch.linalg.eigh(torch.cov((rows - mean).T).reshape(len(mean), len(mean)))
    axes = vectors.flip(1)[:, :3]
    axes = axes * axes.sum(dim=0).sign()  # eigenvectors have no sign of their own
    values = (rows - mean) @ axes
    low, high = values.quantile(0.01, dim=0), values.quantile(0.99, dim=0)
    pictures = []
    for each in latents:
        found = (rearrange(each.double(), "c h w -> h w c") - mean) @ axes
        found = ((found - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * 2 - 1
        colours = torch.zeros(3, *found.shape[:2])
        colours[: found.shape[2]] = rearrange(found, "h w c -> c h w")
        pictures.append(colours.repeat_interleave(scale, 1).repeat_interleave(scale, 2))
    return pictures


@torch.inference_mode()
def interpolations(model: Autoencoder, first: Tensor, last: Tensor, steps: int = 7) -> list[Tensor]:
    """D of points on the line between the latents of two images (C, H, W) of one size."""
    ends = model.encode(torch.stack([first, last]))
    shares = torch.linspace(0, 1, steps, device=ends.device)[:, None, None, None]
    return list(model.decode(ends[:1] * (1 - shares) + ends[1:] * shares).cpu())


@torch.inference_mode()
def chance(
    model: Autoencoder, count: int, side: int, counts: Tensor | None, seed: int = 0
) -> list[Tensor]:
    """`count` images of about `side` px from latents that chance drew, each position by itself:
    scaled latents from N(0, I), or codes as often as `counts` (K,) says they are used."""
    generator = torch.Generator().manual_seed(seed)
    size = max(side // model.downsampling_factor, 1)
    device = next(model.parameters()).device
    if counts is not None:
        drawn = torch.multinomial(counts.double(), count * size**2, True, generator=generator)
        return list(model.decode_indices(drawn.view(count, size, size).to(device)).cpu())
    latents = torch.randn(count, model.latent_channels, size, size, generator=generator)
    unscaled = latents / model.scaling_factor + model.shift_factor
    return list(model.decode(unscaled.to(device)).cpu())
