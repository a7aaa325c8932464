"""The discriminator on patches (Isola et al. 2017, section 3.2.2)."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

DiscriminatorNorm = Literal["group", "batch", "none"]


def norm_layer(kind: DiscriminatorNorm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # 32 groups or fewer, whatever divides: narrow discriminators keep at least 4 channels a group.
    return nn.GroupNorm(min(32, channels // 4), channels) if kind == "group" else nn.Identity()


class PatchDiscriminator(nn.Module):
    """Images (B, C, H, W) -> logits (B, 1, h, w), one for each overlapping patch (70 x 70
    pixels with three layers).

    Group norm by default: it works with one image and needs no other rank's statistics. Batch
    norm is what LDM uses.
    """

    def __init__(
        self,
        image_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 3,
        norm: DiscriminatorNorm = "group",
    ) -> None:
        super().__init__()
        widths = [base_channels * min(2**i, 8) for i in range(num_layers + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(image_channels, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for i in range(1, num_layers + 1):
            stride = 2 if i < num_layers else 1
            bias = norm == "none"
            layers += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride=stride, padding=1, bias=bias),
                norm_layer(norm, widths[i]),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        start_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def start_weights(network: nn.Module) -> None:
    """N(0, 0.02) weights, as in pix2pix and LDM."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def add_spectral_norm(network: nn.Module) -> None:
    """Divide each trained convolution's weight by its largest singular value (Miyato et al. 2018).

    One power iteration per forward pass in training mode, from vectors that every rank shares.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and isinstance(module.weight, nn.Parameter):
            spectral_norm(module)
