"""Perceptual distances between images: LPIPS on a named backbone, or the embedded network.

LPIPS (Zhang et al. 2018, arXiv:1801.03924, eq. 1), with y_l the features of layer l normalised
to unit length along the channels and w_l >= 0 the learned weights:

    d(x, x0) = sum_l 1 / (H_l W_l) sum_hw || w_l * (y_l(x) - y_l(x0)) ||^2
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ldm_ae.errors import UserError
from ldm_ae.installed import require_extra
from ldm_ae.losses.backbones import Backbone, load_backbone
from ldm_ae.losses.embedded import load_embedded
from ldm_ae.losses.feature_distance import feature_distance

# Below this the backbone's last pooling has nothing left to pool.
MIN_SIZE: dict[str, int] = {"vgg": 16, "alex": 31, "squeeze": 17}

PerceptualNet = Literal["vgg", "alex", "squeeze", "embedded", "none"]


@dataclass(frozen=True)
class PerceptualConfig:
    """Which perceptual distance to use.

    net: an LPIPS backbone, ``embedded`` (our small network: it is not LPIPS) or ``none``.
    weights: the backbone as a file with torchvision's names (``features.0.weight``, ...), or a
        folder of such files; None looks in torchvision's cache and then downloads. Unused by
        ``embedded``.
    """

    net: PerceptualNet = "vgg"
    weights: str | None = None


def build_perceptual(config: PerceptualConfig, *, download: bool = True) -> "PerceptualLoss":
    """The frozen distance that `config` names; download: whether its backbone may be fetched.

    Raises UserError if the backbone's weights cannot be had: nothing else takes their place.
    """
    if config.net == "none":
        raise UserError(
            "loss.perceptual.net=none: there is no network to build; name one of vgg, alex,"
            " squeeze, embedded"
        )
    if config.net == "embedded":
        if config.weights is not None:
            raise UserError(
                f"loss.perceptual.weights={config.weights!r} has no use with "
                "loss.perceptual.net=embedded: its weights are part of the package. "
                "Drop the key, or name the backbone the file is for (vgg, alex, squeeze)."
            )
        return PerceptualLoss(load_embedded(), "embedded (not LPIPS)")
    backbone = load_backbone(config.net, config.weights, download=download)
    network = LPIPSNetwork(config.net, backbone)
    return PerceptualLoss(network, f"LPIPS-{config.net}")


class FeatureNetwork(Protocol):
    """What a distance is made of; `min_size` is the smallest side of an image it takes."""

    min_size: int

    def features(self, images: Tensor) -> Sequence[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> per level (B, C_l, H_l, W_l), not normalised."""

    def level_weights(self) -> Sequence[Tensor]:
        """The learned weights >= 0, per level (C_l,)."""


class PerceptualLoss(nn.Module):
    """forward(x, y): images in [-1, 1], (B, C, H, W) with C in {1, 3, 4} -> distances (B,).

    The network is frozen and stays in eval mode whatever its parent does; the gradient with
    respect to the images is live (an image that needs none is run without a graph). It computes
    in fp32 outside autocast. Its weights are buffers that no state dict holds: an optimizer, or
    a checkpoint of the parent, sees nothing of it.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.name = name
        # Channels-last is 1.2 times as fast on a CPU at 8 x 3 x 128 x 128.
        self.network: Any = network.to(memory_format=torch.channels_last)
        freeze(network)
        self.train(False)

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stay in eval mode: a parent's .train() must not switch dropout on."""
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Raises what `features` does."""
        return self.distance(*self.features(x, y))

    def features(self, x: Tensor, y: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Features of both sides, per level (B, C_l, H_l, W_l), for `distance`. Raises ValueError
        for shapes that differ or other channels, UserError for a side too small."""
        if x.shape != y.shape:
            raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(y.shape)}")
        if min(x.shape[2:]) < self.network.min_size:
            raise UserError(
                f"{self.name} takes images of at least {self.network.min_size} pixels a side, "
                f"got {tuple(x.shape[2:])}: enlarge the crop"
            )
        return self.features_of(x), self.features_of(y)

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Features of both sides, per level -> distances (B,)."""
        with torch.autocast(device_type=a[0].device.type, enabled=False):
            return feature_distance(a, b, self.network.level_weights())

    def features_of(self, images: Tensor) -> Sequence[Tensor]:
        """Features of one side, per level (B, C_l, H_l, W_l), for `distance`."""
        with torch.autocast(device_type=images.device.type, enabled=False):
            features: Sequence[Tensor] = self.network.features(to_rgb(images.float()))
        return features


def to_rgb(images: Tensor) -> Tensor:
    """(B, 1 | 3 | 4, H, W) -> (B, 3, H, W), all in [-1, 1].

    Grey is repeated. RGBA is composited over mid-grey (0), so that colour counts as far as it
    is seen and alpha has a gradient too.
    """
    channels = images.shape[1]
    if channels == 3:
        return images
    if channels == 1:
        return images.expand(-1, 3, -1, -1)
    if channels == 4:
        return images[:, :3] * (images[:, 3:] + 1) / 2
    raise ValueError(f"images have {channels} channels; a perceptual distance takes 1, 3 or 4")


def freeze(module: nn.Module) -> None:
    """Turn every parameter and buffer of `module` into a buffer outside the state dict."""
    for part in module.modules():
        tensors = {**part._parameters, **part._buffers}
        part._parameters.clear()
        for name, tensor in tensors.items():
            if tensor is not None:
                part._buffers.pop(name, None)
                part.register_buffer(name, tensor.detach(), persistent=False)


class LPIPSNetwork(nn.Module):
    """The `lpips` package's backbone and learned weights, v0.1.

    With `feature_distance` it gives the value of `lpips.LPIPS` in half the time, and a gradient
    of 0 where all features of a position are 0 (the package gives NaN there).
    """

    def __init__(self, net: Backbone, backbone: dict[str, Tensor]) -> None:
        super().__init__()
        self.min_size = MIN_SIZE[net]
        lpips_module = _lpips_module(net)
        _load_strictly(lpips_module.net, backbone, net)
        self.net: nn.Module = lpips_module.net
        self.scaling: nn.Module = lpips_module.scaling_layer
        self.num_levels = len(lpips_module.lins)
        for level, head in enumerate(lpips_module.lins):
            self.register_buffer(f"head{level}", head.model[-1].weight.detach().flatten())

    def features(self, images: Tensor) -> list[Tensor]:
        return list(self.net(self.scaling(images)))

    def level_weights(self) -> list[Tensor]:
        return [self.get_buffer(f"head{level}") for level in range(self.num_levels)]


def _load_strictly(network: nn.Module, backbone: dict[str, Tensor], net: Backbone) -> None:
    """Load `features.N.*` into lpips' slices, which keep torchvision's numbers: slice3.N.*."""
    slice_name = {name.partition(".")[2]: name for name in network.state_dict()}
    renamed = {
        slice_name.get(name.removeprefix("features."), name): tensor
        for name, tensor in backbone.items()
    }
    try:
        network.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"loss.perceptual.weights: not torchvision's `features.*` of {net}: {error}"
        ) from error


def _lpips_module(net: Backbone) -> Any:
    """`lpips.LPIPS` with its learned heads (in its wheel) and a backbone yet to be loaded."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # lpips 0.1.4 still passes torchvision's `pretrained=` flag, deprecated since 0.13.
        warnings.filterwarnings("ignore", message=r"The parameter 'pretrained' is deprecated")
        warnings.filterwarnings("ignore", message=r"Arguments other than a weight enum")
        require_extra("train")
        import lpips

        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
