"""The U-Net discriminator (Schönfeld et al. 2020): a judgement of the whole, one of each pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.losses.discriminator import DiscriminatorNorm, norm_layer, start_weights


class UNetDiscriminator(nn.Module):
    """Images (B, C, H, W) -> logits of the encoder (B, 1, H / 2^n, W / 2^n) and of the decoder
    (B, 1, H, W), n = num_layers.

    Both maps are trained alike (2020, eq. 3 and 4); the paper's CutMix consistency is left out,
    for a reconstruction and its image are aligned, and their mixtures have no seams to learn.
    """

    def __init__(
        self,
        image_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 3,
        norm: DiscriminatorNorm = "group",
    ) -> None:
        super().__init__()
        self.num_maps = 2
        widths = [base_channels * min(2**i, 8) for i in range(num_layers + 1)]
        self.stem = nn.Conv2d(image_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _block(widths[i], widths[i + 1], norm, stride=2) for i in range(num_layers)
        )
        self.up = nn.ModuleList(
            _block(widths[i + 1] + widths[i], widths[i], norm) for i in reversed(range(num_layers))
        )
        self.whole = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.pixels = nn.Conv2d(widths[0], 1, 3, padding=1)
        start_weights(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        hidden = F.leaky_relu(self.stem(images), 0.2)
        skips = []
        for block in self.down:
            skips.append(hidden)
            hidden = block(hidden)
        whole = self.whole(hidden)
        for block in self.up:
            skip = skips.pop()
            # To the skip's own size: sides that are not multiples of 2^n pass too.
            hidden = F.interpolate(hidden, size=skip.shape[2:], mode="nearest")
            hidden = block(torch.cat([hidden, skip], dim=1))
        return [whole, self.pixels(hidden)]


def _block(inputs: int, outputs: int, norm: DiscriminatorNorm, stride: int = 1) -> nn.Module:
    """Resolution / stride; a 4 x 4 kernel where it strides, so that all pixels count alike."""
    size = 4 if stride == 2 else 3
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=1, bias=norm == "none"),
        norm_layer(norm, outputs),
        nn.LeakyReLU(0.2),
    )
