"""The tiny autoencoder: TAESD's form, an imitation of another autoencoder in its scaled latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.config import Depth, Width
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder, at_least_fp32
from ldm_ae.models.coders import MAX_LEVELS, require_channels
from ldm_ae.models.outputs import Lesson, Reconstruction
from ldm_ae.models.settings import DiffusersConfig, ModelSettings
from ldm_ae.models.tiny_coders import tiny_decoder, tiny_encoder

_MOST_BLOCKS = 64
_LARGEST_LATENT = 3.0  # what the decoder is given lies within


@dataclass(frozen=True)
class TinyConfig(ModelSettings):
    """image_channels: 1 (grey), 3 (RGB) or 4 (RGBA). latent_channels: c.

    encoder_width, decoder_width: channels of all layers of the one and the other.
    encoder_blocks: blocks at each resolution, finest first; f = 2 ** (len(encoder_blocks) - 1).
    decoder_blocks: the same, coarsest first.
    init_from: the teacher, an AutoencoderKL: whatever `ldm_ae.load` takes. The encoder learns its
        scaled latents and the decoder to decode them. Without it both are trained as they are.
    variant: of init_from's files, such as `fp16`, where it has several.
    """

    kind: Literal["tiny"] = "tiny"
    image_channels: int = 3
    latent_channels: Width = 4
    encoder_width: Width = 64
    encoder_blocks: tuple[Depth, ...] = (1, 3, 3, 3)
    decoder_width: Width = 64
    decoder_blocks: tuple[Depth, ...] = (3, 3, 3, 1)
    init_from: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        require_channels(
            latent_channels=self.latent_channels,
            encoder_width=self.encoder_width,
            decoder_width=self.decoder_width,
        )
        if self.image_channels not in (1, 3, 4):
            raise UserError(
                f"model.image_channels={self.image_channels}: use 1 (grey), 3 (RGB) or 4 (RGBA)"
            )
        both = self.encoder_blocks, self.decoder_blocks
        if not 1 <= len(both[0]) == len(both[1]) <= MAX_LEVELS or min(map(min, both)) < 0:
            raise UserError(
                f"model.encoder_blocks={list(both[0])}, model.decoder_blocks={list(both[1])}: list"
                f" as many numbers in both, {MAX_LEVELS} at most, none below 0"
            )

    @property
    def downsampling_factor(self) -> int:
        return int(2 ** (len(self.encoder_blocks) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.encoder_width,) * len(self.encoder_blocks)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        return (self.decoder_width,) * len(self.decoder_blocks)

    @property
    def diffusers_class(self) -> str:
        return "AutoencoderTiny"

    def to_diffusers(self) -> dict[str, Any]:
        return {
            "encoder_block_out_channels": list(self.widths),
            "decoder_block_out_channels": list(self.decoder_widths),
            "num_encoder_blocks": list(self.encoder_blocks),
            "num_decoder_blocks": list(self.decoder_blocks),
        }

    # What the class takes a missing key for; block_out_channels is what it notes by itself, and
    # latent_magnitude and latent_shift are for storing latents as pictures.
    diffusers_defaults: ClassVar[Mapping[str, Any]] = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "encoder_block_out_channels": [64, 64, 64, 64],
        "decoder_block_out_channels": [64, 64, 64, 64],
        "num_encoder_blocks": [1, 3, 3, 3],
        "num_decoder_blocks": [3, 3, 3, 1],
        "act_fn": "relu",
        "upsample_fn": "nearest",
        "upsampling_scaling_factor": 2,
        "latent_magnitude": 3,
        "latent_shift": 0.5,
        "block_out_channels": [64, 64, 64, 64],
        "force_upcast": False,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    }

    @classmethod
    def from_diffusers(cls, image_channels: int, content: DiffusersConfig) -> TinyConfig:
        """Of an AutoencoderTiny. Raises UserError for what this package does not compute."""
        for key in ("act_fn", "upsample_fn", "upsampling_scaling_factor"):
            if content[key] != cls.diffusers_defaults[key]:
                raise content.unsupported(key, f"only {cls.diffusers_defaults[key]} is")
        encoder_width, encoder_blocks = _layers(content, "encoder")
        decoder_width, decoder_blocks = _layers(content, "decoder")
        return cls(
            image_channels=image_channels,
            latent_channels=content.integer("latent_channels"),
            encoder_width=encoder_width,
            encoder_blocks=encoder_blocks,
            decoder_width=decoder_width,
            decoder_blocks=decoder_blocks,
        )


def _layers(content: DiffusersConfig, coder: str) -> tuple[int, tuple[int, ...]]:
    """The one width of a coder and its numbers of blocks."""
    widths = content.integers(f"{coder}_block_out_channels", MAX_LEVELS)
    blocks = content.integers(f"num_{coder}_blocks", MAX_LEVELS, _MOST_BLOCKS, at_least=0)
    if len(set(widths)) > 1 or len(widths) != len(blocks):
        raise content.unsupported(
            f"{coder}_block_out_channels", "one width, for each number of blocks the same, is"
        )
    return widths[0], blocks


class TinyAutoencoder(Autoencoder):
    config: TinyConfig
    title = "tiny autoencoder (TAESD's form)"
    imitates_latents = True
    latent_protocol = "z = E(x), in the scaled latents of the autoencoder that it imitates"

    def __init__(self, config: TinyConfig) -> None:
        nn.Module.__init__(self)  # it has neither the coders of the others nor their convolutions
        self.config = config
        self.encoder = tiny_encoder(
            config.image_channels,
            config.encoder_width,
            config.encoder_blocks,
            config.latent_channels,
        )
        self.decoder = tiny_decoder(
            config.latent_channels,
            config.decoder_width,
            config.decoder_blocks,
            config.image_channels,
        )
        self.quant_conv = self.post_quant_conv = None
        self.downsampling_factor = config.downsampling_factor
        self.image_channels = config.image_channels
        self.latent_channels = config.latent_channels

    def _to_encoder(self, images: Tensor) -> Tensor:
        return (images + 1) / 2

    def _from_codes(self, codes: Tensor) -> Tensor:
        return torch.tanh(codes / _LARGEST_LATENT) * _LARGEST_LATENT

    def _to_images(self, raw: Tensor) -> Tensor:
        return at_least_fp32(raw) * 2 - 1

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """It shares no weight with its teacher."""

    def forward(
        self, images: Tensor, keys: Tensor | None = None, lesson: Lesson | None = None
    ) -> Reconstruction:
        """Decode what the teacher's lesson says, with the penalty `latents`: the mean squared
        distance of the encoder's latents from the teacher's; without one decode its own."""
        latents = self.features(images)
        if lesson is None:
            return Reconstruction(self.decode_codes(latents), latents)
        distance = F.mse_loss(latents, lesson.mode)
        return Reconstruction(self.decode_codes(lesson.latents), latents, {"latents": distance})
