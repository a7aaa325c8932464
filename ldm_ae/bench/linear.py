"""A linear autoencoder of patches, whose optimum under squared error is PCA."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ldm_ae.bench.pca import PatchCovariance, PatchPCA, principal_angles
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
    model: LinearAutoencoder, images: Tensor, max_iterations: int = 150, tolerance: float = 1e-12
) -> float:
    """Train on all patches of images (B, C, H, W) at once; returns the mean squared error.

    With patches x in rows, E^T the encoder (c, D), F the decoder (c, D) and A = I - E F, the
    squared error of x is |A^T x - b|^2, so its mean is tr(A^T S A) + |A^T m - b|^2 for patches of
    mean m and covariance S: each step costs D^2 c, however many patches there are.
    L-BFGS, since the patches' variances span five decades and first-order steps crawl along the
    small ones.
    """
    patches = PatchCovariance(model.downsampling_factor, model.image_channels)
    patches.update(images)
    mean = patches.mean.to(model.encoder.weight)
    covariance = (patches.scatter / patches.count).to(mean)
    spread, values_per_channel = covariance.trace(), model.downsampling_factor**2
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=max_iterations,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    assert model.encoder.bias is not None and model.decoder.bias is not None
    encoder_bias, decoder_bias = model.encoder.bias, model.decoder.bias

    def loss() -> Tensor:
        optimizer.zero_grad()
        encoder, decoder = model.encoder.weight.flatten(1), model.decoder.weight.flatten(1)
        coded = covariance @ encoder.T  # (D, c), the covariance of patches and latents
        shared = (coded * decoder.T).sum()
        energy = ((encoder @ coded) * (decoder @ decoder.T)).sum()
        bias = decoder_bias.repeat_interleave(values_per_channel)
        offset = (encoder @ mean + encoder_bias) @ decoder + bias - mean
        error = (spread - 2 * shared + energy + offset.square().sum()) / len(mean)
        error.backward()
        return error

    optimizer.step(loss)
    return float(loss().detach())


def compare_with_pca(model: LinearAutoencoder, pca: PatchPCA, images: Tensor) -> dict[str, float]:
    """Mean squared error per value of both on patches (N, C, f, f), and the largest angle between
    the two spans."""
    with torch.no_grad():
        trained, exact = (
            float((decoded - images).square().mean())
            for decoded in (model(images).images, pca.decode(pca.encode(images)))
        )
    angles = principal_angles(model.decoder.weight.detach().flatten(1), pca.components)
    return {
        "patch": model.downsampling_factor,
        "latent_channels": model.latent_channels,
        "num_patches": len(images),
        "mse_linear_autoencoder": trained,
        "mse_pca": exact,
        "excess": trained / exact - 1,
        "largest_principal_angle_degrees": float(angles.max()),
    }
