"""Validation on held-out images: scores, latent statistics, codebook usage and a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldm_ae.data.images import pad_to_multiple
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.metrics.evaluate import evaluate, is_lpips, mean_scores
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.dvae import DiscreteVAE
from ldm_ae.models.vq import VQAutoencoder
from ldm_ae.quantizers.usage import codebook_usage, count_codes
from ldm_ae.viz.grids import reconstruction_grid

GRID_IMAGES = 6


@torch.no_grad()
def validate(
    model: Autoencoder, images: list[Tensor], perceptual: PerceptualLoss | None
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Scores of a model in eval mode and a grid of the first images.

    images: batches (1, C, H, W) in [-1, 1] on the model's device. The reconstruction is that of
    the mode, rounded to uint8. The perceptual metric keeps its own name.
    """
    means = mean_scores(evaluate(model.reconstruct, images, perceptual))
    scores: dict[str, Any] = {"psnr": means.psnr, "ssim": means.ssim, "ms_ssim": means.ms_ssim}
    if perceptual is not None:
        scores |= {"lpips" if is_lpips(perceptual) else "embedded": means.perceptual}
        scores["perceptual_net"] = perceptual.name
    scores |= _latents(model, images)
    shown = images[:GRID_IMAGES]
    reconstructions = [model.reconstruct(image)[0] for image in shown]
    return scores, reconstruction_grid([image[0] for image in shown], reconstructions)


def _latents(model: Autoencoder, images: list[Tensor]) -> dict[str, Any]:
    """Mean and deviation of each latent channel, and the codebook's usage where there is one."""
    factor = model.downsampling_factor
    fitting = [pad_to_multiple(image, factor)[0] for image in images]
    latents = torch.cat([model.encode(x).double().flatten(2).squeeze(0) for x in fitting], dim=1)
    statistics: dict[str, Any] = {}
    for channel, (mean, std) in enumerate(
        zip(latents.mean(1).tolist(), latents.std(1).tolist(), strict=True)
    ):
        statistics[f"latent_mean/{channel}"] = mean
        statistics[f"latent_std/{channel}"] = std
    if isinstance(model, (VQAutoencoder, DiscreteVAE)):
        counts = sum(count_codes(model.encode_indices(x), model.codebook_size) for x in fitting)
        assert isinstance(counts, Tensor)
        usage = codebook_usage(counts)
        statistics["codebook_share"] = usage.share
        statistics["codebook_perplexity"] = usage.perplexity
        statistics["codebook_tokens"] = usage.num_tokens
    return statistics
