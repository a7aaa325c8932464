"""The KL-regularised autoencoder (Kingma and Welling 2014; Rombach et al. 2022, section 3.1)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, require_channels
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.models.outputs import Reconstruction


@dataclass(frozen=True)
class KLConfig:
    """latent_channels: c. quant_conv: 1x1 convolutions around the latents, as in LDM and SD 1, 2
    and XL; SD3 and FLUX have none.

    initial_logvar: log sigma^2 of the posterior before training. At 0, where convolutions start
    by themselves, unit noise drowns the still small means, and the first hundreds of steps go
    into getting rid of it.
    """

    kind: Literal["kl"] = "kl"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: int = 4
    quant_conv: bool = True
    initial_logvar: float = -6.0

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels)


class KLAutoencoder(Autoencoder):
    family = "kl"

    def __init__(self, config: KLConfig) -> None:
        c = config.latent_channels
        super().__init__(config, config.coder, 2 * c, 2 * c, c, c, config.quant_conv)
        last = self.encoder.conv_out if self.quant_conv is None else self.quant_conv
        with torch.no_grad():
            last.bias[c:] += config.initial_logvar  # type: ignore[index]

    def posterior(self, images: Tensor) -> DiagonalGaussian:
        """q(z|x) of images (B, C, H, W)."""
        return DiagonalGaussian.from_moments(self.features(images))

    def encode(self, images: Tensor) -> Tensor:
        """Images -> the posterior's mode, unscaled."""
        return self.posterior(images).mode()

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode one sample; penalty `kl`: nats, mean per latent element."""
        posterior = self.posterior(images)
        latents = posterior.sample(keys)
        return Reconstruction(
            self.decode_codes(latents), latents, penalties={"kl": posterior.kl().mean()}
        )
