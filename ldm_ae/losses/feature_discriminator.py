"""A discriminator in the space of frozen features (Sauer et al. 2021, Projected GANs)."""

import torch
from torch import Tensor, nn

from ldm_ae.losses.discriminator import start_weights
from ldm_ae.losses.perceptual import PerceptualLoss, to_rgb


class FeatureDiscriminator(nn.Module):
    """Images (B, C, H, W) -> one map of logits (B, 1, H_l, W_l) per level of the perceptual
    network: a small trained head on each.

    The network is frozen, its gradient with respect to the images is live, and no state dict
    holds it. Without the paper's random mixing of channels and scales, which costs a second
    feature pyramid.
    """

    def __init__(self, perceptual: PerceptualLoss, hidden_channels: int = 64) -> None:
        super().__init__()
        self.perceptual = perceptual
        widths = [len(weights) for weights in perceptual.network.level_weights()]
        self.num_maps = len(widths)
        self.heads = nn.ModuleList(_head(width, hidden_channels) for width in widths)
        start_weights(self.heads)

    def forward(self, images: Tensor) -> list[Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            levels = self.perceptual.network.features(to_rgb(images.float()))
        # Contiguous: up to torch 2.13, group norm's backward pass crashes on a CPU for what is
        # channels-last and needs no gradient.
        return [head(level.contiguous()) for head, level in zip(self.heads, levels, strict=True)]


def _head(width: int, hidden: int) -> nn.Module:
    """Logits of single positions: the features have seen their surroundings. The levels differ in
    scale by orders of magnitude, and group norm evens them out."""
    return nn.Sequential(
        nn.GroupNorm(1, width),
        nn.Conv2d(width, hidden, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(hidden, 1, 1),
    )
