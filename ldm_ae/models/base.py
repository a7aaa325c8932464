"""What the families share: an encoder, a decoder, and the way images of any size pass."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ldm_ae.data.images import pad_to_multiple
from ldm_ae.errors import UserError
from ldm_ae.models import strips
from ldm_ae.models.coders import CoderConfig, Decoder, DecoderConfig, Encoder
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.models.inputs import require_images, require_latents
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.models.rows import Rows, TensorRows
from ldm_ae.models.settings import ModelSettings
from ldm_ae.models.tiny_coders import TinyCoder
from ldm_ae.quantizers.base import Quantizer


def at_least_fp32(values: Tensor) -> Tensor:
    """Half precision raised to fp32; fp32 and fp64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Autoencoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] <-> latents (B, c, H/f, W/f).

    Training goes through `forward` alone; `encode`, `decode` and `reconstruct` are for use. A
    family states its title, what its latents' statistics are of, whether its literature sums the
    loss over an image (as a likelihood) or takes a mean, and how diffusers' class is made of it.
    """

    encoder: Encoder | TinyCoder
    decoder: Decoder | TinyCoder
    title: str
    latent_protocol: ClassVar[str]
    imitates_latents: ClassVar[bool] = False
    loss_is_summed: bool = True
    # What pipelines compute with unscaled latents, (z - shift) * scale; set by `ldm_ae.load`.
    scaling_factor: float = 1.0
    shift_factor: float = 0.0
    # Of each channel, where the loaded folder gives them; else None.
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    # What it computes in; `ldm_ae.load` with precision="fast" says here what it took.
    precision: str = "fp32"

    def __init__(
        self,
        config: ModelSettings,
        coder: CoderConfig,
        encoder_channels: int,
        feature_channels: int,
        latent_channels: int,
        decoder_channels: int,
        quant_conv: bool = True,
        out_channels: int | None = None,
        decoder: DecoderConfig | None = None,
    ) -> None:
        """encoder_channels -> quant_conv -> feature_channels; latent_channels -> post_quant_conv
        -> decoder_channels. Without the two 1x1 convolutions the pairs must be equal."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(coder, encoder_channels)
        self.decoder = Decoder(
            coder, decoder_channels, out_channels or coder.image_channels, decoder
        )
        self.quant_conv: nn.Conv2d | None = None
        self.post_quant_conv: nn.Conv2d | None = None
        if quant_conv:
            self.quant_conv = nn.Conv2d(encoder_channels, feature_channels, 1)
            self.post_quant_conv = nn.Conv2d(latent_channels, decoder_channels, 1)
        self.downsampling_factor = coder.downsampling_factor
        self.image_channels = coder.image_channels
        self.latent_channels = latent_channels

    def use_memory_format(self, memory_format: torch.memory_format) -> None:
        """Compute in contiguous memory (the default) or torch.channels_last; weights stay as
        they are."""
        self.encoder.memory_format = self.decoder.memory_format = memory_format

    def features(self, images: Tensor | Rows, max_memory: int | str | None = None) -> Tensor:
        """Images -> what the family makes its latents from, (B, feature_channels, H/f, W/f)."""
        require_images(images, self.image_channels)
        factor = self.downsampling_factor
        if images.shape[2] % factor or images.shape[3] % factor:
            raise UserError(
                f"image size {images.shape[2]}x{images.shape[3]} is not divisible by the"
                f" downsampling factor {factor}: pad it, or call reconstruct(), which does"
            )
        if max_memory is not None:
            return strips.through(
                self.encoder, images, max_memory, self._to_encoder, self._to_features
            )
        assert isinstance(images, Tensor), "rows are read with max_memory alone"
        return self._to_features(self.encoder(self._to_encoder(images)))

    # What is done to each pixel or position alone, before and after the coders.
    def _to_encoder(self, images: Tensor) -> Tensor:
        return images

    def _to_features(self, hidden: Tensor) -> Tensor:
        hidden = at_least_fp32(hidden)
        return hidden if self.quant_conv is None else at_least_fp32(self.quant_conv(hidden))

    def _from_codes(self, codes: Tensor) -> Tensor:
        return codes if self.post_quant_conv is None else self.post_quant_conv(codes)

    def _to_images(self, raw: Tensor) -> Tensor:
        return at_least_fp32(raw)

    def decode_codes(self, codes: Tensor, max_memory: int | str | None = None) -> Tensor:
        """What the decoder takes (latents, or codes after quantisation) -> its raw output."""
        if max_memory is None:
            return self._to_images(self.decoder(self._from_codes(codes)))
        return strips.through(self.decoder, codes, max_memory, self._from_codes, self._to_images)

    def decode_codes_in_strips(
        self, codes: Tensor, max_memory: int | str
    ) -> Iterator[tuple[int, Tensor]]:
        """decode_codes(codes) for codes of one image, from top to bottom, as (first row, rows (1,
        C, k, W))."""
        for top, rows in strips.strips_through(
            self.decoder, TensorRows(codes), max_memory, self._from_codes
        ):
            yield top, self._to_images(rows)

    def encode(self, images: Tensor | Rows, max_memory: int | str | None = None) -> Tensor:
        """Images -> unscaled latents, deterministic.

        max_memory: bytes, or text as "2GB", that the call may take beside the model, its input
            and its result; None sets no limit. Within it images of any size give what they give
            whole, to rounding, without gradient; activations that do not fit are kept in a
            nameless file in TMPDIR. Raises UserError where it is too little, and for attention
            that would take hours.
        """
        return self.features(images, max_memory)

    def decode(self, latents: Tensor, max_memory: int | str | None = None) -> Tensor:
        """Unscaled latents -> images, nominally in [-1, 1], not clamped. max_memory: as of
        `encode`."""
        require_latents(latents, self.latent_channels)
        return self.decode_codes(latents, max_memory)

    def reconstruct(self, images: Tensor, max_memory: int | str | None = None) -> Tensor:
        """decode(encode(images)) for any H and W: edges are repeated to a multiple of f and
        cropped off again. max_memory: as of `encode`."""
        require_images(images, self.image_channels)
        padded, (height, width) = pad_to_multiple(images, self.downsampling_factor)
        latents = self.encode(padded, max_memory)
        return self.decode(latents, max_memory)[..., :height, :width]

    @property
    def quantizer(self) -> Quantizer | None:
        """The codebook, or None: the one way to ask whether there is one."""
        return None

    def set_step(self, step: int) -> None:
        """Tell the model how many training steps are done; for what has a schedule."""
        if self.quantizer is not None:
            self.quantizer.set_step(step)

    def latents_and_posterior(self, images: Tensor) -> tuple[Tensor, DiagonalGaussian | None]:
        """`encode(images)`, and the posterior whose mode that is, where the family has one."""
        return self.encode(images), None

    def encode_indices(self, images: Tensor, max_memory: int | str | None = None) -> Tensor:
        """Images -> indices of their codes, int64 (B, H/f, W/f). max_memory: as of `encode`.
        Raises UserError for a model without a codebook."""
        raise UserError(f"a model of kind {self.config.kind} has no codebook: use encode")

    def decode_indices(self, indices: Tensor, max_memory: int | str | None = None) -> Tensor:
        """Indices int64 (B, h, w) in [0, K) -> images (B, C, h f, w f). max_memory: as of
        `encode`. Raises UserError for others, and for a model without a codebook."""
        raise UserError(f"a model of kind {self.config.kind} has no codebook: use decode")

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a diffusers AutoencoderKL of this shape, to train from there."""
        self.load_state_dict(state)

    def training_names(self) -> set[str]:
        """Names in the state dict that only training needs: in checkpoints, not in an export."""
        return set()

    def restart_training(self) -> None:
        """Set those to what they are for weights that were loaded without them."""

    def diffusers_state(self) -> dict[str, Tensor]:
        """The weights of the diffusers class that computes the same; they may share memory with
        the model's."""
        unused = self.training_names()
        state = self.state_dict()
        return {name: value.detach() for name, value in state.items() if name not in unused}

    @property
    def regularized_per_value(self) -> float:
        """Regularised latent elements per image value; turns LDM's summed weights into means."""
        return self.latent_channels / (self.image_channels * self.downsampling_factor**2)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """One training pass; keys int64 (B,) fix each image's noise."""
        raise AssertionError(f"{type(self).__name__} must define forward")
