"""The discrete VAE with a Gumbel-softmax relaxation (Ramesh et al. 2021, section 2.1)."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, require_channels
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.quantizers.codebook import require_indices
from ldm_ae.quantizers.gumbel import GumbelCodebook, GumbelConfig


@dataclass(frozen=True)
class DVAEConfig:
    """latent_channels: channels of the encoder's output. code_channels: d, the length of a code;
    by default the same. predict_scale: the decoder also predicts the log-scale of each value,
    as the logit-Laplace likelihood needs; an export leaves it out."""

    kind: Literal["dvae"] = "dvae"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: int = 4
    code_channels: int | None = None
    codebook: GumbelConfig = field(default_factory=GumbelConfig)
    predict_scale: bool = False

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels, code_channels=self.code_channels)

    @property
    def code_dim(self) -> int:
        return self.code_channels or self.latent_channels


class DiscreteVAE(Autoencoder):
    family = "dvae"

    def __init__(self, config: DVAEConfig) -> None:
        z, d = config.latent_channels, config.code_dim
        out_channels = config.coder.image_channels * (2 if config.predict_scale else 1)
        super().__init__(config, config.coder, z, d, d, z, out_channels=out_channels)
        self.quantize = GumbelCodebook(config.codebook, d)
        self.codebook_size = config.codebook.size

    @property
    def regularized_per_value(self) -> float:
        """One divergence per position, not per channel."""
        return 1 / (self.image_channels * self.downsampling_factor**2)

    def set_step(self, step: int) -> None:
        self.quantize.temperature = self.quantize.config.temperature(step)

    def encode_indices(self, images: Tensor) -> Tensor:
        """Images -> int64 (B, H/f, W/f), the most likely codes."""
        return self.quantize.indices(self.encode(images))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Indices int64 (B, h, w) in [0, K) -> images (B, C, h f, w f)."""
        require_indices(indices, self.codebook_size)
        output = self.decode_codes(self.quantize.lookup(indices))
        return output[:, : self.image_channels]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents before quantisation -> most likely codes -> images."""
        return self.decode_indices(self.quantize.indices(latents))

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode relaxed codes; penalty `kl_uniform`: nats, mean per position."""
        latents = self.features(images)
        quantized = self.quantize(latents, keys)
        output = self.decode_codes(quantized.codes)
        return Reconstruction(
            output[:, : self.image_channels],
            latents,
            quantized.penalties,
            quantized.indices,
            log_scale=output[:, self.image_channels :] if self.config.predict_scale else None,
        )
