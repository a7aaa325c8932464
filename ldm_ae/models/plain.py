"""The plain autoencoder: no regularisation of the latents, or one by their rate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ldm_ae.config import Width
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, require_channels
from ldm_ae.models.gaussian import MIN_LOGVAR
from ldm_ae.models.kl import with_log_variance, without_log_variance
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.models.rate import RateConfig, RatePrior
from ldm_ae.models.settings import ModelSettings
from ldm_ae.models.widening import widened


@dataclass(frozen=True)
class PlainConfig(ModelSettings):
    """latent_channels: c. quant_conv: 1x1 convolutions around the latents.

    rate: train with quantised latents and a learned prior; loss.rate_weight weighs their bits.
    init_from: start with the weights of this diffusers AutoencoderKL, its posterior's mean as the
        latents; otherwise as in the KL family. With more latent_channels than it has, the new ones
        begin unused by the decoder.
    variant: of init_from's files, such as `fp16`, where it has several.
    """

    kind: Literal["plain"] = "plain"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: Width = 4
    quant_conv: bool = True
    rate: RateConfig | None = None
    init_from: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels)


class PlainAutoencoder(Autoencoder):
    title = "plain autoencoder (no regularisation; its log-variance is the constant -30)"
    latent_protocol = "z = E(x)"

    def __init__(self, config: PlainConfig) -> None:
        c = config.latent_channels
        super().__init__(config, config.coder, c, c, c, c, config.quant_conv)
        self.prior: RatePrior | None = None
        if config.rate is not None:
            self.prior = RatePrior(config.rate, c, config.coder.downsampling_factor)

    def training_names(self) -> set[str]:
        """The rate's prior; the codec fits one of its own."""
        return {name for name in self.state_dict() if name.startswith("prior.")}

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        unused, fresh, plain = self.training_names(), self.state_dict(), without_log_variance(state)
        if len(plain["encoder.conv_out.bias"]) < self.latent_channels:
            plain = widened(plain, fresh)
        self.load_state_dict({**plain, **{name: fresh[name] for name in unused}})

    def diffusers_state(self) -> dict[str, Tensor]:
        """With the degenerate posterior that AutoencoderKL clamps to, sigma = 3e-7."""
        return with_log_variance(super().diffusers_state(), MIN_LOGVAR)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode the latents, rounded if the model has a rate (penalties `rate` and `bpp`)."""
        latents = self.features(images)
        codes, penalties = (latents, {}) if self.prior is None else self.prior(latents, keys)
        decoded = self.decode_codes(codes)
        return Reconstruction(decoded, latents, penalties)
