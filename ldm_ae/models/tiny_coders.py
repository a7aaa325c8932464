"""The coders of the tiny autoencoder: plain convolutions and ReLU, one width throughout. Parameter
names are those of diffusers' AutoencoderTiny, whose form is that of TAESD (madebyollin/taesd)."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.models.layout import in_format, is_channels_last
from ldm_ae.models.upsampling import upsampled_convolution


class TinyBlock(nn.Module):
    """relu(x + conv(relu(conv(relu(conv(x)))))): (B, C, h, w) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.conv if isinstance(layer, nn.Conv2d)]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class TinyDownsample(nn.Conv2d):
    """Halves height and width: (B, C, h, w) -> (B, C, h/2, w/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1, bias=False)


class TinyUpsample(nn.Conv2d):
    """Doubles height and width by repetition: (B, C, h, w) -> (B, C, 2h, 2w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if is_channels_last(x):
            return upsampled_convolution(x, self.weight, None)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class TinyCoder(nn.Module):
    """Layers one after the other, the first and the last of them convolutions."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.memory_format = torch.contiguous_format

    @property
    def conv_in(self) -> nn.Conv2d:
        return self.layers[0]  # type: ignore[return-value]

    @property
    def conv_out(self) -> nn.Conv2d:
        return self.layers[-1]  # type: ignore[return-value]

    def between(self) -> Iterator[nn.Module]:
        """The layers between those two."""
        return (layer for layer in self.layers[1:-1] if not isinstance(layer, nn.Identity))

    def forward(self, x: Tensor) -> Tensor:
        x = in_format(self.conv_in, x, self.memory_format)
        for layer in self.between():
            x = layer(x)
        return self.conv_out(x)


def tiny_encoder(
    image_channels: int, width: int, num_blocks: Sequence[int], out_channels: int
) -> TinyCoder:
    """Images (B, C, H, W) in [0, 1] -> (B, out_channels, H/f, W/f). num_blocks: of each
    resolution, finest first."""
    layers: list[nn.Module] = []
    for level, count in enumerate(num_blocks):
        layers.append(
            TinyDownsample(width) if level else nn.Conv2d(image_channels, width, 3, padding=1)
        )
        layers.extend(TinyBlock(width) for _ in range(count))
    return TinyCoder([*layers, nn.Conv2d(width, out_channels, 3, padding=1)])


def tiny_decoder(
    in_channels: int, width: int, num_blocks: Sequence[int], image_channels: int
) -> TinyCoder:
    """(B, in_channels, H/f, W/f) -> images (B, C, H, W) in [0, 1]. num_blocks: of each resolution,
    coarsest first."""
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU()]
    for level, count in enumerate(num_blocks):
        if level:  # diffusers counts the repetition as a layer
            layers += [nn.Identity(), TinyUpsample(width)]
        layers.extend(TinyBlock(width) for _ in range(count))
    return TinyCoder([*layers, nn.Conv2d(width, image_channels, 3, padding=1)])
