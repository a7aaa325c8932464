"""MobileNetV2's features (Sandler et al. 2018, table 2), for a Fréchet distance without Inception.

Names are torchvision's. Batch norms are folded into biased convolutions: a file may hold the
network folded, or as torchvision ships it (mobilenet_v2-*.pth), which is folded on loading.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.errors import UserError
from ldm_ae.weights_file import read_weights

NAME = "Frechet-MobileNetV2 (not FID)"
SIDE = 224  # of the images that the network was trained on
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH_NORM_EPS = 1e-5

# Expansion, channels, blocks and the stride of the first of them.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _convolution(c_in: int, c_out: int, side: int, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(c_in, c_out, side, stride, (side - 1) // 2, groups=groups)
    return nn.Sequential(convolution, nn.ReLU6())


class _Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shapes allow."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        layers = [_convolution(c_in, hidden, 1)] if expansion > 1 else []
        layers += [
            _convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetFeatures(nn.Sequential):
    """Normalised images (B, 3, H, W) -> (B, 1280, H/32, W/32)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [_convolution(3, 32, 3, stride=2)]
        channels = 32
        for expansion, c_out, blocks, stride in _STAGES:
            for i in range(blocks):
                layers.append(_Block(channels, c_out, expansion, stride if i == 0 else 1))
                channels = c_out
        super().__init__(*layers, _convolution(channels, 1280, 1))


class FrechetNetwork(nn.Module):
    """Images (B, 1 or 3, H, W) in [-1, 1] -> features (B, 1280).

    Protocol: rounded to uint8, resized to 224 x 224 (bilinear, antialiased), normalised as for
    ImageNet, means of the last feature map. Raises UserError for a file that does not fit.
    """

    name = NAME

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.features = MobileNetFeatures()
        try:
            self.features.load_state_dict(_read(Path(weights)), strict=True)
        except (RuntimeError, LookupError, ValueError) as error:
            raise UserError(
                f"train.frechet.weights={weights}: not MobileNetV2's features: {error}"
            ) from error
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = to_float(to_uint8(images[:, :3])).expand(-1, 3, -1, -1)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        features: Tensor = self.features(((x + 1) / 2 - mean) / std)
        return features.mean((2, 3))


def _read(path: Path) -> dict[str, Tensor]:
    weights = read_weights(path)
    state = {name.removeprefix("features."): value for name, value in weights.items()}
    state = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    return fold_batch_norms(state)


def fold_batch_norms(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each batch norm into the convolution before it, w' = w g / s and b' = b - m g / s, where
    s is the running deviation; a state without batch norms comes back as it is."""
    folded = dict(state)
    for name in [n for n in state if n.endswith(".running_var")]:
        norm = name.removesuffix(".running_var")
        parent, _, position = norm.rpartition(".")
        convolution = f"{parent}.{int(position) - 1}"
        mean, variance = folded.pop(f"{norm}.running_mean"), folded.pop(name)
        factor = folded.pop(f"{norm}.weight") / (variance + BATCH_NORM_EPS).sqrt()
        folded.pop(f"{norm}.num_batches_tracked", None)
        folded[f"{convolution}.weight"] = (
            state[f"{convolution}.weight"] * factor[:, None, None, None]
        )
        folded[f"{convolution}.bias"] = folded.pop(f"{norm}.bias") - mean * factor
    return folded
