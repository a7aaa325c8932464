"""The parts of the encoder and the decoder. Parameter names are diffusers'."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ldm_ae.models.frozen import FrozenConv2d
from ldm_ae.models.layout import is_channels_last
from ldm_ae.models.norm import Norm, NormSiLU
from ldm_ae.models.upsampling import upsampled_convolution


class ResnetBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))): (B, in, h, w) -> (B, out, h, w).

    He et al. 2016 in the pre-activation form of Ho et al. 2020, without the time embedding. With
    frozen convolutions the result may take the place of x in memory.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = NormSiLU(norm_groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = NormSiLU(norm_groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def convolutions(self) -> list[nn.Conv2d]:
        return [self.conv1, self.conv2]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(self.norm1(x))
        hidden = self.norm2(hidden)
        if isinstance(self.conv2, FrozenConv2d):
            residual = x if self.conv_shortcut is None else self.conv_shortcut(x)
            return self.conv2.added_to(residual, hidden)
        hidden = self.conv2(hidden)
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head self-attention over positions, with a residual: (B, C, h, w) -> same."""

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.group_norm = Norm(norm_groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        tokens = rearrange(self.group_norm(x), "b c h w -> b 1 (h w) c")
        attended = F.scaled_dot_product_attention(
            self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        )
        return x + rearrange(self.to_out[0](attended), "b 1 (h w) c -> b c h w", h=height)


class Downsample(nn.Module):
    """Halves height and width by a strided convolution: (B, C, h, w) -> (B, C, h/2, w/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        # LDM pads right and below only; symmetric padding would shift every public checkpoint.
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width by repetition and a convolution: (B, C, h, w) -> (B, C, 2h, 2w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.conv, FrozenConv2d):
            return self.conv.upsampled(x)
        if is_channels_last(x):
            assert self.conv.bias is not None
            return upsampled_convolution(x, self.conv.weight, self.conv.bias)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """One resolution: ResNet blocks, each followed by attention if asked, then a resampler."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        norm_groups: int,
        attention: bool,
        resampler: Callable[[int], nn.Module] | None,
        resampler_name: str,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock(in_channels if i == 0 else out_channels, out_channels, norm_groups)
            for i in range(num_blocks)
        )
        if attention:
            self.attentions = nn.ModuleList(
                AttentionBlock(out_channels, norm_groups) for _ in range(num_blocks)
            )
        if resampler is not None:
            self.add_module(resampler_name, nn.ModuleList([resampler(out_channels)]))
        self._resampler_name = resampler_name if resampler is not None else None
        self._attention = attention

    def layers(self) -> Iterator[nn.Module]:
        for i, resnet in enumerate(self.resnets):
            yield resnet
            if self._attention:
                yield self.attentions[i]
        if self._resampler_name is not None:
            yield getattr(self, self._resampler_name)[0]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers():
            x = layer(x)
        return x


class MidBlock(nn.Module):
    """ResNet block, attention (optional), ResNet block, at the lowest resolution."""

    def __init__(self, channels: int, norm_groups: int, attention: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            [AttentionBlock(channels, norm_groups)] if attention else []
        )
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, norm_groups) for _ in range(2))

    def layers(self) -> Iterator[nn.Module]:
        yield self.resnets[0]
        yield from self.attentions
        yield self.resnets[1]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers():
            x = layer(x)
        return x


def run(block: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
    """Apply a block; with checkpointing its activations are recomputed in the backward pass."""
    if checkpointing and torch.is_grad_enabled():
        result = checkpoint(block, x, use_reentrant=False)
        assert isinstance(result, Tensor)
        return result
    return block(x)
