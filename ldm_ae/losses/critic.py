"""A discriminator together with what its training has to remember."""

import torch
from torch import Tensor, nn

from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.discriminator import PatchDiscriminator, add_spectral_norm


class Critic(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> logits (B, 1, h, w). Its state dict is all that
    resuming needs.

    num_updates: of the discriminator, so far; every schedule of the game is counted by it.
    real_anchor, fake_anchor: (1,), moving averages of the mean logits, for LeCam. They follow
        means over all ranks, and are the same on each.
    """

    real_anchor: Tensor
    fake_anchor: Tensor
    last_r1: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_updates = 0
        self.register_buffer("real_anchor", torch.zeros(1))
        self.register_buffer("fake_anchor", torch.zeros(1))
        # For the logs between two lazy computations; a resumed run starts it anew.
        self.register_buffer("last_r1", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def count_update(self, real_mean: Tensor, fake_mean: Tensor, decay: float) -> None:
        """One update was made, whose logits had these means over all ranks."""
        weight = 1 - decay if self.num_updates else 1.0
        self.real_anchor.lerp_(real_mean.to(self.real_anchor.dtype), weight)
        self.fake_anchor.lerp_(fake_mean.to(self.fake_anchor.dtype), weight)
        self.num_updates += 1

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.num_updates)

    def set_extra_state(self, state: Tensor) -> None:
        self.num_updates = int(state)


def build_critic(config: AdversarialConfig, image_channels: int) -> Critic:
    """The discriminator that `config` describes, with random weights."""
    network = PatchDiscriminator(
        image_channels, config.base_channels, config.num_layers, config.norm
    )
    if config.spectral_norm:
        add_spectral_norm(network)
    return Critic(network)
