"""What the families share: an encoder, a decoder, and the way images of any size pass."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ldm_ae.data.images import pad_to_multiple
from ldm_ae.models.coders import CoderConfig, Decoder, Encoder
from ldm_ae.models.outputs import Reconstruction

# Of latents (B, c, h, w), to another size perhaps; None leaves them as they are.
LatentTransform = Callable[[Tensor], Tensor] | None


def at_least_fp32(values: Tensor) -> Tensor:
    """Half precision raised to fp32; fp32 and fp64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Autoencoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] <-> latents (B, c, H/f, W/f).

    Training goes through `forward` alone; `encode`, `decode` and `reconstruct` are for use.
    """

    family: ClassVar[str]
    # What pipelines compute with unscaled latents, (z - shift) * scale; set by `ldm_ae.load`.
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    def __init__(
        self,
        config: Any,
        coder: CoderConfig,
        encoder_channels: int,
        feature_channels: int,
        latent_channels: int,
        decoder_channels: int,
        quant_conv: bool = True,
        out_channels: int | None = None,
    ) -> None:
        """encoder_channels -> quant_conv -> feature_channels; latent_channels -> post_quant_conv
        -> decoder_channels. Without the two 1x1 convolutions the pairs must be equal."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(coder, encoder_channels)
        self.decoder = Decoder(coder, decoder_channels, out_channels or coder.image_channels)
        self.quant_conv: nn.Conv2d | None = None
        self.post_quant_conv: nn.Conv2d | None = None
        if quant_conv:
            self.quant_conv = nn.Conv2d(encoder_channels, feature_channels, 1)
            self.post_quant_conv = nn.Conv2d(latent_channels, decoder_channels, 1)
        self.downsampling_factor = coder.downsampling_factor
        self.image_channels = coder.image_channels
        self.latent_channels = latent_channels

    def features(self, images: Tensor) -> Tensor:
        """Images -> what the family makes its latents from, (B, feature_channels, H/f, W/f)."""
        channels, factor = images.shape[1], self.downsampling_factor
        if channels != self.image_channels:
            raise ValueError(
                f"images have {channels} channels, this model takes {self.image_channels}"
            )
        if images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"image size {images.shape[2]}x{images.shape[3]} is not divisible by the"
                f" downsampling factor {factor}: pad it, or call reconstruct(), which does"
            )
        hidden = self.encoder(images)
        return at_least_fp32(hidden if self.quant_conv is None else self.quant_conv(hidden))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """What the decoder takes (latents, or codes after quantisation) -> its raw output."""
        hidden = codes if self.post_quant_conv is None else self.post_quant_conv(codes)
        return at_least_fp32(self.decoder(hidden))

    def encode(self, images: Tensor) -> Tensor:
        """Images -> unscaled latents, deterministic."""
        return self.features(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents -> images, nominally in [-1, 1], not clamped."""
        return self.decode_codes(latents)

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images)) for any H and W: edges are repeated to a multiple of f and
        cropped off again."""
        padded, (height, width) = pad_to_multiple(images, self.downsampling_factor)
        return self.decode(self.encode(padded))[..., :height, :width]

    def set_step(self, step: int) -> None:
        """Tell the model how many training steps are done; for families with a schedule."""

    @property
    def regularized_per_value(self) -> float:
        """Regularised latent elements per image value; turns LDM's summed weights into means."""
        return self.latent_channels / (self.image_channels * self.downsampling_factor**2)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """One training pass; keys int64 (B,) fix each image's noise.

        The families without a codebook also take a `transform` of the latents (B, c, h, w), which
        is applied before they are decoded.
        """
        raise AssertionError(f"{type(self).__name__} must define forward")
