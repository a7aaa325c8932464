"""Latent statistics over a whole data set: the scaling factor, and what each channel carries."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.export.uncertainty import ImageMoments, Uncertainty
from ldm_ae.models.base import Autoencoder
from ldm_ae.quantizers.usage import CodebookUsage, codebook_usage, count_codes

# A channel is active if its mean varies by more than this over the data (Burda et al. 2016, 5.2).
ACTIVE_VARIANCE = 0.01


class StreamingMoments:
    """Mean and squared deviations per channel, fp64, over batches of any size.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque 1983, eq. 2.1, which does
    not cancel like a running sum of squares.
    """

    def __init__(self, num_channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(num_channels, dtype=torch.float64)
        self.squares = torch.zeros(num_channels, dtype=torch.float64)

    def update(self, values: Tensor) -> None:
        """Add (B, c, h, w)."""
        rows = rearrange(values.detach().cpu().double(), "b c h w -> c (b h w)")
        mean = rows.mean(dim=1)
        squares = (rows - mean[:, None]).square().sum(dim=1)
        added, total = rows.shape[1], self.count + rows.shape[1]
        delta = mean - self.mean
        self.mean += delta * (added / total)
        self.squares += squares + delta.square() * (self.count * added / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Squared deviation from the mean, over `count`; (c,)."""
        return self.squares / self.count


@dataclass(frozen=True)
class LatentStatistics:
    """Of unscaled latents (B, c, H/f, W/f); lists are per channel.

    scaling_factor: 1 / std, LDM's convention (Rombach et al. 2022, appendix G) with the std taken
        over all data, about its mean.
    std, channel_std: deviations of the latents that `protocol` names.
    posterior_std: mean sigma; kl_nats: mean KL(q || N(0, 1)) of one latent value (kl only).
    active_channels: with Var E[z|x] > 0.01.
    num_different: images among those measured that are not crops of one another; what the
        statistics rest on, and what `uncertainty` counts.
    codebook: usage over all tokens, if there is one.
    """

    protocol: str
    num_images: int
    num_different: int
    num_positions: int
    scaling_factor: float
    mean: float
    std: float
    channel_mean: list[float]
    channel_std: list[float]
    active_channels: int
    uncertainty: Uncertainty | None
    posterior_std: list[float] | None = None
    kl_nats: list[float] | None = None
    codebook: CodebookUsage | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


@torch.no_grad()
def measure_latents(
    model: Autoencoder,
    batches: Iterable[Tensor],
    keep: Callable[[Tensor], None] | None = None,
    num_different: int | None = None,
) -> LatentStatistics:
    """Statistics of a model's latents of images, batches (B, C, H, W) in [-1, 1].

    H and W must be multiples of f. keep: called with what a codec stores of each batch, the
    posterior's means or latents (B, c, h, w), or code indices (B, h, w). num_different: how many of
    the images are not crops of one another; all, if it is None. Raises UserError for no
    images, latents that are not finite, and latents that are all the same.
    """
    channels, device = model.latent_channels, next(model.parameters()).device
    means, spread = StreamingMoments(channels), torch.zeros(channels, dtype=torch.float64)
    each_image = ImageMoments()
    deviations, divergences = StreamingMoments(channels), StreamingMoments(channels)
    num_codes = 0 if model.quantizer is None else model.quantizer.num_codes
    counts = torch.zeros(num_codes, dtype=torch.int64)
    num_images = 0
    for images in batches:
        num_images += len(images)
        latents, posterior = model.latents_and_posterior(images.to(device))
        means.update(latents)
        each_image.update(latents, posterior)
        if posterior is not None:
            deviations.update(posterior.std)
            divergences.update(posterior.kl())
        indices = None
        if model.quantizer is not None:
            indices = model.quantizer.indices(latents).cpu()
            counts = counts + count_codes(indices, num_codes)
        if keep is not None:
            keep(indices if indices is not None else latents)
    if num_images == 0:
        raise UserError("no training image came: there are no latents to measure")
    has_posterior = deviations.count > 0
    if has_posterior:
        spread = deviations.variance + deviations.mean.square()  # E sigma^2
    variance = means.variance + spread
    mean = float(means.mean.mean())
    std = math.sqrt(float(variance.mean() + (means.mean - mean).square().mean()))
    if not (math.isfinite(std) and std > 0):
        raise UserError(f"the latents have a standard deviation of {std}: the weights are broken")
    different = min(num_images, num_different or num_images)
    return LatentStatistics(
        protocol=model.latent_protocol,
        num_images=num_images,
        num_different=different,
        num_positions=means.count,
        scaling_factor=1 / std,
        mean=mean,
        std=std,
        channel_mean=means.mean.tolist(),
        channel_std=variance.sqrt().tolist(),
        active_channels=int((means.variance > ACTIVE_VARIANCE).sum()),
        uncertainty=each_image.uncertainty(different),
        posterior_std=deviations.mean.tolist() if has_posterior else None,
        kl_nats=divergences.mean.tolist() if has_posterior else None,
        codebook=codebook_usage(counts) if num_codes else None,
    )
