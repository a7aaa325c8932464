"""Validation on held-out images: scores, latent statistics, codebook usage and a picture.

The images are dealt to the ranks in turn, each is encoded once, in batches, and the rows are
gathered, so that the scores are those of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldm_ae.data.images import pad_to_multiple, to_float
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import Data
from ldm_ae.data.validation import validation_images
from ldm_ae.distributed import gather_from_ranks, world
from ldm_ae.errors import UserError
from ldm_ae.export.statistics import ACTIVE_VARIANCE
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import Panel, Scores, mean_scores, open_panel
from ldm_ae.models.base import Autoencoder
from ldm_ae.quantizers.usage import codebook_usage, count_codes
from ldm_ae.train.config import Experiment
from ldm_ae.train.frechet import FrechetJudge, open_frechet
from ldm_ae.viz.grids import reconstruction_grid

GRID_IMAGES = 6
BATCH_PIXELS = 2**19  # 8 images of 256 pixels a side


@dataclass(frozen=True)
class _Row:
    """What is kept of one image. sums: float64, over positions, (2, c) of latents and their
    squares, or (3, c) with the posterior's nats of KL. counts: of each code (K,). pictures:
    (C, H, W) in [-1, 1], the original and what became of it, of the grid's images."""

    scores: Scores
    positions: int
    sums: Tensor
    counts: Tensor | None
    pictures: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class HeldOut:
    """Validation images and what they are scored by. images: this rank's share of the `num_images`
    there are, every world-size-th one, (C, H, W) uint8 of one shape, on the host."""

    images: list[Tensor]
    num_images: int
    panel: Panel
    frechet: FrechetJudge | None


def open_held_out(
    experiment: Experiment, data: Data, loader: TrainLoader, perceptual: PerceptualLoss | None
) -> HeldOut:
    """Called by every rank. Raises UserError as `open_validation_panel` and `open_frechet`."""
    images = [image for _, image in validation_images(data)]
    own = images[loader.rank :: loader.world_size]
    panel = open_validation_panel(experiment, loader.device, perceptual)
    frechet = open_frechet(experiment, own, len(images), loader)
    return HeldOut(own, len(images), panel, frechet)


def open_validation_panel(
    experiment: Experiment, device: torch.device, perceptual: PerceptualLoss | None
) -> Panel:
    """What validation measures; the network of the loss, if there is one, is used again.

    Raises UserError if the best checkpoint is chosen by what cannot be had.
    """
    known = {} if perceptual is None else {experiment.loss.perceptual.net: perceptual}
    panel = open_panel(experiment.validation_metrics, Networks(device, known=known))
    metric = experiment.best_metric
    if metric in panel.reasons:
        raise UserError(f"train.best_metric={metric} cannot be had: {panel.reasons[metric]}")
    return panel


@torch.no_grad()
def validate(
    model: Autoencoder,
    images: Sequence[Tensor],
    panel: Panel,
    frechet: FrechetJudge | None = None,
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Scores of a model in eval mode and a grid of the first images; the same on every rank, all
    of which must call it.

    images: this rank's share, every world-size-th one: (C, H, W) uint8 of one shape, on the host.
    The reconstruction is that of the mode, rounded to uint8.
    """
    rank, world_size = world()
    num_shown = -(-(GRID_IMAGES - rank) // world_size)  # of this rank's images, in the grid
    rows: list[_Row] = []
    for batch in _batches(images):
        rows += _rows(model, batch, panel, frechet, num_shown - len(rows))
    dealt = gather_from_ranks(rows)
    rows = [dealt[i % world_size][i // world_size] for i in range(sum(map(len, dealt)))]

    scores: dict[str, Any] = dict(mean_scores([row.scores for row in rows]).values)
    if frechet is not None:
        scores |= frechet.scores()
    scores |= dict(_latents(rows)) | dict(_codebook(rows))
    originals, pictures = zip(*(row.pictures for row in rows if row.pictures), strict=True)
    return scores, reconstruction_grid(originals, pictures)


def _batches(images: Sequence[Tensor]) -> Iterator[Tensor]:
    """(B, C, H, W) uint8, of as many images as make up `BATCH_PIXELS`."""
    if not images:  # more ranks than images
        return
    size = max(1, BATCH_PIXELS // images[0][0].numel())
    for start in range(0, len(images), size):
        yield torch.stack(list(images[start : start + size]))


def _rows(
    model: Autoencoder,
    pixels: Tensor,
    panel: Panel,
    frechet: FrechetJudge | None,
    num_shown: int,
) -> list[_Row]:
    images = to_float(pixels.to(panel.device))
    padded, (height, width) = pad_to_multiple(images, model.downsampling_factor)
    latents, posterior = model.latents_and_posterior(padded)
    reconstructions = model.decode(latents)[..., :height, :width]
    if frechet is not None:
        frechet.see(reconstructions)
    values = latents.double()
    planes = [values, values.square()]  # (B, c, h, w) each
    if posterior is not None:
        planes.append(posterior.kl().double())
    sums = torch.stack(planes, dim=1).sum((3, 4)).cpu()
    counts: list[Tensor | None] = [None] * len(images)
    if model.quantizer is not None:
        codes = model.quantizer.indices(latents)
        counts = [count_codes(image, model.quantizer.num_codes).cpu() for image in codes]
    scores = panel.score(images, reconstructions)
    return [
        _Row(
            scores=scores[i],
            positions=latents[0, 0].numel(),
            sums=sums[i],
            counts=counts[i],
            pictures=(images[i].cpu(), reconstructions[i].cpu()) if i < num_shown else None,
        )
        for i in range(len(images))
    ]


def _latents(rows: list[_Row]) -> Iterator[tuple[str, float]]:
    """Mean and deviation of each latent channel; with a posterior also its nats per position, and
    how many channels say anything about the image (Burda et al. 2016, section 5.2)."""
    count = sum(row.positions for row in rows)
    total, squares, *nats = torch.stack([row.sums for row in rows]).sum(0)
    mean = total / count
    variance = (squares - count * mean.square()).clamp_min(0) / max(1, count - 1)
    for channel in range(len(mean)):
        yield f"latent_mean/{channel}", float(mean[channel])
        yield f"latent_std/{channel}", float(variance[channel].sqrt())
        if nats:
            yield f"latent_kl/{channel}", float(nats[0][channel] / count)
    if nats:
        yield "active_channels", int((variance > ACTIVE_VARIANCE).sum())


def _codebook(rows: list[_Row]) -> Iterator[tuple[str, float]]:
    counted = [row.counts for row in rows if row.counts is not None]
    if counted:
        usage = codebook_usage(torch.stack(counted).sum(0))
        yield "codebook_share", usage.share
        yield "codebook_perplexity", usage.perplexity
        yield "codebook_tokens", usage.num_tokens
