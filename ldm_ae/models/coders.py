"""The encoder and the decoder shared by every family (Rombach et al. 2022, appendix D.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ldm_ae.config import Depth, Width
from ldm_ae.errors import UserError
from ldm_ae.models.blocks import Downsample, MidBlock, Stage, Upsample, run
from ldm_ae.models.layout import in_format
from ldm_ae.models.norm import NormSiLU

MAX_LEVELS = 12


@dataclass(frozen=True)
class CoderConfig:
    """The shape of an encoder and its mirrored decoder.

    image_channels: 1 (grey), 3 (RGB) or 4 (RGBA).
    channels: width of each resolution, finest first; f = 2 ** (len(channels) - 1).
    num_res_blocks: ResNet blocks per resolution in the encoder; the decoder has one more.
    attention_factors: resolutions with attention inside the blocks, as divisors of the image
        size: 16 is the resolution of 16 x 16 positions for a 256 px image.
    mid_attention: attention in the middle, at the lowest resolution.
    norm_groups: groups of every GroupNorm; must divide every width.
    gradient_checkpointing: recompute activations in the backward pass, for less memory.
    """

    image_channels: int = 3
    channels: tuple[Width, ...] = (128, 256, 512, 512)
    num_res_blocks: Depth = 2
    attention_factors: tuple[int, ...] = ()
    mid_attention: bool = True
    norm_groups: int = 32
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.image_channels not in (1, 3, 4):
            raise UserError(
                f"coder.image_channels={self.image_channels}: use 1 (grey), 3 (RGB) or 4 (RGBA)"
            )
        if not 1 <= len(self.channels) <= MAX_LEVELS or min(self.channels) < 1:
            raise UserError(
                f"coder.channels={list(self.channels)}: list positive widths, {MAX_LEVELS} at most"
            )
        if self.norm_groups < 1:
            raise UserError(f"coder.norm_groups={self.norm_groups}: use 1 or more")
        bad = [width for width in self.channels if width % self.norm_groups]
        if bad:
            raise UserError(
                f"coder.channels has {bad}, not divisible by coder.norm_groups={self.norm_groups}:"
                " choose widths that are multiples, or fewer groups"
            )
        if self.num_res_blocks < 1:
            raise UserError(f"coder.num_res_blocks={self.num_res_blocks}: use 1 or more")
        factors = [2**level for level in range(len(self.channels))]
        unknown = [factor for factor in self.attention_factors if factor not in factors]
        if unknown:
            raise UserError(
                f"coder.attention_factors has {unknown}; this coder has the resolutions {factors}"
            )

    @property
    def downsampling_factor(self) -> int:
        return int(2 ** (len(self.channels) - 1))

    def has_attention(self, level: int) -> bool:
        return 2**level in self.attention_factors


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder that is not its encoder's mirror image.

    channels: width of each resolution, finest first, as many as the encoder's.
    num_res_blocks: the decoder has one more at each resolution; 0 is the shallowest.
    attention_factors, mid_attention: as of `model.coder`, which the rest is taken from.
    """

    channels: tuple[Width, ...]
    num_res_blocks: Depth = 0
    attention_factors: tuple[int, ...] = ()
    mid_attention: bool = False

    def require_fit(self, coder: CoderConfig) -> None:
        """Raise UserError unless it decodes what an encoder of shape `coder` makes."""
        if len(self.channels) != len(coder.channels):
            raise UserError(
                f"model.decoder.channels={list(self.channels)}: list {len(coder.channels)} widths,"
                " as many as the encoder has resolutions"
            )
        if self.num_res_blocks < 0:
            raise UserError(f"model.decoder.num_res_blocks={self.num_res_blocks}: use 0 or more")
        try:
            self.within(coder)
        except UserError as error:
            raise UserError(f"model.decoder: {error}") from error

    def within(self, coder: CoderConfig) -> CoderConfig:
        """A coder of this shape, as far as CoderConfig can say it."""
        return replace(
            coder,
            channels=self.channels,
            num_res_blocks=max(1, self.num_res_blocks),
            attention_factors=self.attention_factors,
            mid_attention=self.mid_attention,
        )

    @staticmethod
    def mirrored(coder: CoderConfig) -> "DecoderConfig":
        """The shape of an encoder's mirror image."""
        return DecoderConfig(
            coder.channels, coder.num_res_blocks, coder.attention_factors, coder.mid_attention
        )


def require_channels(**channels: int | None) -> None:
    """Raise UserError for a number of channels below 1; None stands for a default."""
    for name, value in channels.items():
        if value is not None and value < 1:
            raise UserError(f"model.{name}={value}: use 1 or more")


class Encoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> features (B, out_channels, H/f, W/f)."""

    def __init__(self, config: CoderConfig, out_channels: int) -> None:
        super().__init__()
        widths, groups = config.channels, config.norm_groups
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Stage(
                widths[max(level - 1, 0)],
                width,
                config.num_res_blocks,
                groups,
                config.has_attention(level),
                Downsample if level < last else None,
                "downsamplers",
            )
            for level, width in enumerate(widths)
        )
        self.mid_block = MidBlock(widths[-1], groups, config.mid_attention)
        self.conv_norm_out = NormSiLU(groups, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.checkpointing = config.gradient_checkpointing
        self.memory_format = torch.contiguous_format

    def blocks(self) -> Iterator[Stage | MidBlock]:
        """From the first to the last, between `conv_in` and `conv_norm_out`."""
        yield from self.down_blocks  # type: ignore[misc]
        yield self.mid_block

    def forward(self, images: Tensor) -> Tensor:
        x = in_format(self.conv_in, images, self.memory_format)
        for block in self.blocks():
            x = run(block, x, self.checkpointing)
        return self.conv_out(self.conv_norm_out(x))


class Decoder(nn.Module):
    """Features (B, in_channels, H/f, W/f) -> images (B, out_channels, H, W)."""

    def __init__(
        self,
        config: CoderConfig,
        in_channels: int,
        out_channels: int,
        shape: DecoderConfig | None = None,
    ) -> None:
        """shape: the encoder's mirror image by default."""
        super().__init__()
        shape = shape or DecoderConfig.mirrored(config)
        widths, groups = shape.channels[::-1], config.norm_groups
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups, shape.mid_attention)
        self.up_blocks = nn.ModuleList(
            Stage(
                widths[max(i - 1, 0)],
                width,
                shape.num_res_blocks + 1,
                groups,
                2 ** (last - i) in shape.attention_factors,
                Upsample if i < last else None,
                "upsamplers",
            )
            for i, width in enumerate(widths)
        )
        self.conv_norm_out = NormSiLU(groups, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.checkpointing = config.gradient_checkpointing
        self.memory_format = torch.contiguous_format

    def blocks(self) -> Iterator[Stage | MidBlock]:
        """From the first to the last, between `conv_in` and `conv_norm_out`."""
        yield self.mid_block
        yield from self.up_blocks  # type: ignore[misc]

    def forward(self, features: Tensor) -> Tensor:
        x = in_format(self.conv_in, features, self.memory_format)
        for block in self.blocks():
            x = run(block, x, self.checkpointing)
        return self.conv_out(self.conv_norm_out(x))
