"""The VQ-regularised autoencoder (van den Oord et al. 2017; Esser et al. 2021)."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, require_channels
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.quantizers.codebook import Codebook, CodebookConfig, require_indices


@dataclass(frozen=True)
class VQConfig:
    """latent_channels: channels of the encoder's output. code_channels: d, the length of a code;
    by default the same."""

    kind: Literal["vq"] = "vq"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: int = 4
    code_channels: int | None = None
    codebook: CodebookConfig = field(default_factory=CodebookConfig)

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels, code_channels=self.code_channels)

    @property
    def code_dim(self) -> int:
        return self.code_channels or self.latent_channels


class VQAutoencoder(Autoencoder):
    family = "vq"

    def __init__(self, config: VQConfig) -> None:
        z, d = config.latent_channels, config.code_dim
        super().__init__(config, config.coder, z, d, d, z)
        self.quantize = Codebook(config.codebook, d)
        self.codebook_size = config.codebook.size

    def encode_indices(self, images: Tensor) -> Tensor:
        """Images -> int64 (B, H/f, W/f)."""
        return self.quantize.indices(self.encode(images))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Indices int64 (B, h, w) in [0, K) -> images (B, C, h f, w f)."""
        require_indices(indices, self.codebook_size)
        return self.decode_codes(self.quantize.lookup(indices))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents before quantisation -> nearest codes -> images."""
        return self.decode_indices(self.quantize.indices(latents))

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode the nearest codes; penalties `codebook` and `commitment`."""
        latents = self.features(images)
        quantized = self.quantize(latents)
        return Reconstruction(
            self.decode_codes(quantized.codes), latents, quantized.penalties, quantized.indices
        )
