"""A small perceptual network that ships with the package: a distance without any download.

It is not LPIPS. `scripts/distill_perceptual.py` trained it from random weights to give the
distances of LPIPS-squeeze; the card beside its weights says on what, and how well it agrees.
"""

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS_NAME = "embedded_perceptual.safetensors"
CARD_NAME = "embedded_perceptual.json"


@dataclass(frozen=True)
class EmbeddedConfig:
    """Channels of the five levels, whose strides are 2, 4, 8, 16 and 16."""

    channels: tuple[int, int, int, int, int] = (32, 64, 96, 128, 128)


class EmbeddedPerceptual(nn.Module):
    """Five levels of features and a weight >= 0 for each of their channels."""

    min_size = 31  # four unpadded convolutions of stride 2 leave nothing of less

    def __init__(self, config: EmbeddedConfig | None = None) -> None:
        super().__init__()
        config = config or EmbeddedConfig()
        c0, c1, c2, c3, c4 = config.channels
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, c0, 3, stride=2), nn.ReLU()),
                nn.Sequential(nn.Conv2d(c0, c1, 3, stride=2), nn.ReLU(), Residual(c1)),
                nn.Sequential(nn.Conv2d(c1, c2, 3, stride=2), nn.ReLU(), Residual(c2)),
                nn.Sequential(nn.Conv2d(c2, c3, 3, stride=2), nn.ReLU()),
                Residual(c3)
                if c3 == c4
                else nn.Sequential(nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU()),
            ]
        )
        self.weights = nn.ParameterList([torch.full((c,), 0.5) for c in config.channels])

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> per level (B, C_l, H_l, W_l), not normalised."""
        levels = []
        for stage in self.stages:
            images = stage(images)
            levels.append(images)
        return levels

    def level_weights(self) -> list[Tensor]:
        """The learned weights >= 0, per level (C_l,)."""
        return list(self.weights)


class Residual(nn.Module):
    """relu(x + conv(x)): one convolution and a way around it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv(x))


def load_embedded() -> EmbeddedPerceptual:
    """The network with the weights of the package (stored in fp16, used in fp32)."""
    with as_file(_weights_dir() / WEIGHTS_NAME) as path:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
    network = EmbeddedPerceptual()
    network.load_state_dict(state, strict=True)
    return network


def embedded_card() -> dict[str, Any]:
    """What the package's weights were trained on, with which settings, and how well they agree."""
    card: dict[str, Any] = json.loads((_weights_dir() / CARD_NAME).read_text())
    return card


def _weights_dir() -> Traversable:
    return files("ldm_ae") / "weights"
