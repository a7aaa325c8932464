"""A linear autoencoder of patches, whose optimum under squared error is PCA."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ldm_ae.models.outputs import Reconstruction


@dataclass(frozen=True)
class LinearConfig:
    """patch: f, the side of a patch. latent_channels: c, values kept of each patch."""

    kind: Literal["linear"] = "linear"
    image_channels: int = 3
    patch: int = 8
    latent_channels: int = 4


class LinearAutoencoder(nn.Module):
    """Images (B, C, H, W) -> latents (B, c, H/f, W/f) -> images, both ways linear plus a bias.

    Bourlard and Kamp 1988: the least squared error is reached on the span of the first c
    principal components of the patches.
    """

    family = "linear"

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        channels, f, c = config.image_channels, config.patch, config.latent_channels
        self.encoder = nn.Conv2d(channels, c, f, stride=f)
        self.decoder = nn.ConvTranspose2d(c, channels, f, stride=f)
        self.downsampling_factor, self.latent_channels, self.image_channels = f, c, channels

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        latents = self.encode(images)
        return Reconstruction(self.decode(latents), latents)


def fit_least_squares(
    model: LinearAutoencoder, images: Tensor, max_iterations: int = 500, tolerance: float = 1e-12
) -> float:
    """Train on all images (B, C, H, W) at once by squared error; returns the mean squared error.

    L-BFGS, since the patches' variances span five decades and first-order steps crawl along the
    small ones.
    """
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=max_iterations,
        history_size=50,
        tolerance_grad=0,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = (model(images).images - images).square().mean()
        error.backward()
        return error

    return float(optimizer.step(loss).detach())
