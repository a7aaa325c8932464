"""Half-trained autoencoders: their reconstructions are the distortion that matters most.

A pool of small autoencoders of several shapes and losses trains beside the network that is
distilled. Each is started anew after a while, so that at any time every stage of training is
seen, from grey fog to good. Some of them minimise the network itself: what an autoencoder finds
to fool it is at once among the pairs it is trained on.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Recipe:
    """Shape and loss of an autoencoder: `perceptual_weight` is on the distilled network."""

    width: int
    num_halvings: int
    latent_channels: int
    power: int  # 1: mean absolute error, 2: mean squared error
    perceptual_weight: float
    transposed: bool  # upsample by transposed convolutions, else by nearest neighbour


RECIPES = (
    Recipe(24, 3, 4, 1, 1.0, False),
    Recipe(32, 3, 16, 1, 0.0, False),
    Recipe(24, 2, 3, 1, 1.0, True),
    Recipe(24, 3, 8, 2, 3.0, False),
    Recipe(24, 2, 4, 2, 0.0, False),
    Recipe(24, 3, 8, 1, 0.3, True),
)


def soften(images: Tensor, reconstructions: Tensor, seed: int) -> Tensor:
    """Half of the reconstructions moved part of the way to the photo: as if trained for longer."""
    generator = torch.Generator().manual_seed(seed)
    part = torch.rand((2, len(images), 1, 1, 1), generator=generator)
    part = torch.where(part[0] < 0.5, 0.25 + 0.75 * part[1], 1.0)
    return torch.lerp(images, reconstructions, part)


class SmallAutoencoder(nn.Module):
    """A stride-2 convolution and a residual block a level down, the same with upsampling up."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        widths = [3, *(recipe.width * min(2**i, 4) for i in range(recipe.num_halvings))]
        down: list[nn.Module] = []
        up: list[nn.Module] = [nn.Conv2d(recipe.latent_channels, widths[-1], 3, padding=1)]
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), Block(after)]
        for before, after in pairwise(widths[::-1]):
            up += [Block(before), nn.GroupNorm(4, before), nn.SiLU()]
            if recipe.transposed:
                up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
            else:
                up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        down.append(nn.Conv2d(widths[-1], recipe.latent_channels, 1))
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, images: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.silu(self.norm(x)))


@dataclass
class Member:
    """One autoencoder of the pool; at step `ends` another is started in its place."""

    model: SmallAutoencoder
    optimizer: torch.optim.Optimizer
    ends: int


class AutoencoderPool:
    """One autoencoder per recipe; a call reconstructs with one of them and trains it a step."""

    def __init__(self, max_steps: int, seed: int) -> None:
        self.max_steps = max_steps
        self.seed = seed
        self.members = [self._start(index, 0) for index in range(len(RECIPES))]

    def _start(self, index: int, step: int) -> Member:
        """A new member, its length of life drawn so that the members end at different times."""
        rng = np.random.default_rng([self.seed, index, step])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            model = SmallAutoencoder(RECIPES[index])
        lifetime = int(self.max_steps * rng.uniform(0.25, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
        return Member(model, optimizer, step + lifetime * len(RECIPES))

    def reconstruct(self, images: Tensor, step: int) -> tuple[Tensor, int]:
        """The reconstruction, with its graph, by the member whose turn it is; and its index."""
        index = step % len(RECIPES)
        if step >= self.members[index].ends:
            self.members[index] = self._start(index, step)
        return self.members[index].model(images), index

    def train_step(self, index: int, images: Tensor, output: Tensor, distance: Tensor) -> None:
        """One step of member `index` on its own loss; `distance` is the distilled network's."""
        recipe, member = RECIPES[index], self.members[index]
        loss = (images - output).abs().pow(recipe.power).mean()
        loss = loss + recipe.perceptual_weight * distance.mean()
        member.optimizer.zero_grad()
        loss.backward(inputs=list(member.model.parameters()))
        nn.utils.clip_grad_norm_(member.model.parameters(), 1.0)
        member.optimizer.step()

    def state_dict(self) -> dict[int, dict[str, Any]]:
        return {
            index: {
                "model": member.model.state_dict(),
                "optimizer": member.optimizer.state_dict(),
                "ends": member.ends,
            }
            for index, member in enumerate(self.members)
        }

    def load_state_dict(self, state: dict[int, dict[str, Any]]) -> None:
        for index, member in enumerate(self.members):
            member.model.load_state_dict(state[index]["model"])
            member.optimizer.load_state_dict(state[index]["optimizer"])
            member.ends = state[index]["ends"]
