"""A discriminator together with what its training has to remember."""

import torch
from torch import Tensor, nn

from ldm_ae.errors import UserError
from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.discriminator import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    add_spectral_norm,
)
from ldm_ae.losses.feature_discriminator import FeatureDiscriminator
from ldm_ae.losses.perceptual import PerceptualLoss
from ldm_ae.losses.unet_discriminator import UNetDiscriminator


class Critic(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> maps of logits. Its state dict is all that resuming needs.

    num_updates: of the discriminator, so far; every schedule of the game is counted by it.
    real_anchor, fake_anchor: (M,), moving averages of the mean logits per map, for LeCam. They
        follow means over all ranks, and are the same on each.
    """

    real_anchor: Tensor
    fake_anchor: Tensor
    last_r1: Tensor

    def __init__(self, network: nn.Module, num_maps: int) -> None:
        super().__init__()
        self.network = network
        self.num_updates = 0
        self.register_buffer("real_anchor", torch.zeros(num_maps))
        self.register_buffer("fake_anchor", torch.zeros(num_maps))
        # For the logs between two lazy computations; a resumed run starts it anew.
        self.register_buffer("last_r1", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        logits: list[Tensor] = self.network(images)
        return logits

    @torch.no_grad()
    def count_update(self, real_means: Tensor, fake_means: Tensor, decay: float) -> None:
        """One update was made, at whose logits the maps had these means (M,), over all ranks."""
        weight = 1 - decay if self.num_updates else 1.0
        self.real_anchor.lerp_(real_means.to(self.real_anchor.dtype), weight)
        self.fake_anchor.lerp_(fake_means.to(self.fake_anchor.dtype), weight)
        self.num_updates += 1

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.num_updates)

    def set_extra_state(self, state: Tensor) -> None:
        self.num_updates = int(state)


def build_critic(
    config: AdversarialConfig, image_channels: int, perceptual: PerceptualLoss | None
) -> Critic:
    """The discriminator that `config` names, with random weights.

    Raises UserError if `features` has no perceptual network to stand on.
    """
    network: nn.Module
    patch = (image_channels, config.base_channels, config.num_layers, config.norm)
    match config.discriminator:
        case "patch":
            network = PatchDiscriminator(*patch)
        case "multiscale":
            network = MultiScaleDiscriminator(*patch, num_scales=config.num_scales)
        case "unet":
            network = UNetDiscriminator(*patch)
        case "features":
            if perceptual is None:
                raise UserError(
                    "loss.adversarial.discriminator=features with loss.perceptual.net=none: name"
                    " a perceptual network (vgg, alex, squeeze, embedded), or another discriminator"
                )
            network = FeatureDiscriminator(perceptual, config.base_channels)
    if config.spectral_norm:
        add_spectral_norm(network)
    return Critic(network, int(network.num_maps))
