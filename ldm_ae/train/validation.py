"""Validation on held-out images: scores, latent statistics, codebook usage and a picture.

The images are dealt to the ranks in turn, each is encoded once, and the rows are gathered, so the
scores are those of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldm_ae.data.images import pad_to_multiple
from ldm_ae.distributed import gather_from_ranks, world
from ldm_ae.export.statistics import ACTIVE_VARIANCE
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.metrics.evaluate import ImageScores, is_lpips, mean_scores, score
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.dvae import DiscreteVAE
from ldm_ae.models.kl import KLAutoencoder
from ldm_ae.models.vq import VQAutoencoder
from ldm_ae.quantizers.usage import codebook_usage, count_codes
from ldm_ae.train.frechet import FrechetJudge
from ldm_ae.viz.grids import reconstruction_grid

GRID_IMAGES = 6


@dataclass(frozen=True)
class _Row:
    """What is kept of one image. sums: (3, c) float64, over positions: latents, their squares,
    nats of KL. counts: of each code (K,). picture: (C, H, W), of the grid's images."""

    scores: ImageScores
    positions: int
    sums: Tensor
    counts: Tensor | None
    picture: Tensor | None


@torch.no_grad()
def validate(
    model: Autoencoder,
    images: list[Tensor],
    perceptual: PerceptualLoss | None,
    frechet: FrechetJudge | None = None,
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Scores of a model in eval mode and a grid of the first images; the same on every rank, all
    of which must call it.

    images: all of them on every rank, batches (1, C, H, W) in [-1, 1] on the model's device. The
    reconstruction is that of the mode, rounded to uint8. Each network's distance keeps its name.
    """
    rank, world_size = world()
    mine = range(rank, len(images), world_size)
    rows = [_row(model, images[i], perceptual, frechet, i < GRID_IMAGES) for i in mine]
    dealt = gather_from_ranks(rows)
    rows = [dealt[i % world_size][i // world_size] for i in range(len(images))]

    means = mean_scores([row.scores for row in rows])
    scores: dict[str, Any] = {"psnr": means.psnr, "ssim": means.ssim, "ms_ssim": means.ms_ssim}
    if perceptual is not None:
        scores |= {"lpips" if is_lpips(perceptual) else "embedded": means.perceptual}
        scores["perceptual_net"] = perceptual.name
    if frechet is not None:
        scores |= frechet.scores()
    scores |= dict(_latents(model, rows)) | dict(_codebook(rows))
    pictures = [row.picture for row in rows if row.picture is not None]
    originals = [image[0].cpu() for image in images[:GRID_IMAGES]]
    return scores, reconstruction_grid(originals, pictures)


def _row(
    model: Autoencoder,
    image: Tensor,
    perceptual: PerceptualLoss | None,
    frechet: FrechetJudge | None,
    shown: bool,
) -> _Row:
    padded, (height, width) = pad_to_multiple(image, model.downsampling_factor)
    if isinstance(model, KLAutoencoder):
        posterior = model.posterior(padded)
        latents, nats = posterior.mode(), posterior.kl()
    else:
        latents = model.encode(padded)
        nats = torch.zeros_like(latents)
    reconstruction = model.decode(latents)[..., :height, :width]
    if frechet is not None:
        frechet.see(reconstruction)
    values = latents.double()
    planes = torch.stack([values, values.square(), nats.double()])  # (3, 1, c, h, w)
    counts = None
    if isinstance(model, (VQAutoencoder, DiscreteVAE)):
        counts = count_codes(model.quantize.indices(latents), model.codebook_size).cpu()
    return _Row(
        scores=score(image, reconstruction, perceptual)[0],
        positions=latents[0, 0].numel(),
        sums=planes.sum((1, 3, 4)).cpu(),
        counts=counts,
        picture=reconstruction[0].cpu() if shown else None,
    )


def _latents(model: Autoencoder, rows: list[_Row]) -> Iterator[tuple[str, float]]:
    """Mean and deviation of each latent channel; of a KL model also its nats per position, and
    how many channels say anything about the image (Burda et al. 2016, section 5.2)."""
    count = sum(row.positions for row in rows)
    total, squares, nats = torch.stack([row.sums for row in rows]).sum(0)
    mean = total / count
    variance = (squares - count * mean.square()).clamp_min(0) / max(1, count - 1)
    regularized = isinstance(model, KLAutoencoder)
    for channel in range(len(mean)):
        yield f"latent_mean/{channel}", float(mean[channel])
        yield f"latent_std/{channel}", float(variance[channel].sqrt())
        if regularized:
            yield f"latent_kl/{channel}", float(nats[channel] / count)
    if regularized:
        yield "active_channels", int((variance > ACTIVE_VARIANCE).sum())


def _codebook(rows: list[_Row]) -> Iterator[tuple[str, float]]:
    counted = [row.counts for row in rows if row.counts is not None]
    if counted:
        usage = codebook_usage(torch.stack(counted).sum(0))
        yield "codebook_share", usage.share
        yield "codebook_perplexity", usage.perplexity
        yield "codebook_tokens", usage.num_tokens
