"""What computes a metric on pairs of images, and the networks that several metrics look through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ldm_ae.data.images import to_float
from ldm_ae.losses.perceptual import (
    PerceptualConfig,
    PerceptualLoss,
    PerceptualNet,
    build_perceptual,
)


class Judge(Protocol):
    """A metric in two steps, so that an original is looked at once however often it is compared."""

    def see(self, pixels: Tensor) -> Any:
        """(B, C, H, W) uint8 -> whatever `compare` needs of these images."""
        ...

    def compare(self, original: Any, other: Any) -> Tensor:
        """What was seen of B originals and of what became of them -> values (B,)."""
        ...


class PixelJudge:
    """A function of two (B, C, H, W) uint8 tensors."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def see(self, pixels: Tensor) -> Tensor:
        return pixels

    def compare(self, original: Tensor, other: Tensor) -> Tensor:
        return self.function(original, other)


class FeatureJudge:
    """The distance of a perceptual network, which takes images in [-1, 1]."""

    def __init__(self, perceptual: PerceptualLoss) -> None:
        self.perceptual = perceptual

    def see(self, pixels: Tensor) -> Any:
        return self.perceptual.features_of(to_float(pixels))

    def compare(self, original: Any, other: Any) -> Tensor:
        return self.perceptual.distance(original, other)


class Networks:
    """The networks of a panel, on one device, each built when it is first asked for.

    weights: by net, a backbone's file or the folder it lies in; the others are looked for where
    they are cached. known: networks that are there already, such as the one that trains.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        weights: Mapping[PerceptualNet, str] | None = None,
        known: Mapping[PerceptualNet, PerceptualLoss] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.weights: Mapping[PerceptualNet, str] = weights or {}
        self.built = dict(known or {})

    def perceptual(self, net: PerceptualNet) -> PerceptualLoss:
        """Nothing is downloaded: raises UserError if the weights are not on this machine."""
        if net not in self.built:
            config = PerceptualConfig(net, self.weights.get(net))
            self.built[net] = build_perceptual(config, download=False).to(self.device)
        return self.built[net]
