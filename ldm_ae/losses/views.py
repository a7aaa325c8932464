"""Random views for a perceptual network (E-LPIPS, Kettunen et al. 2019).

A generator finds patterns that one network does not see. Where both sides are shown shifted,
resized, turned and recoloured at random, such a pattern would have to hide from every view.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.noise import mix

_STREAM = 0x56494557  # apart from the noise of images
_GREATEST_SHIFT = 8  # pixels
_COLOUR = 0.15


def smallest_image(side: int, least_scale: float) -> int:
    """The least side of an image whose views, `least_scale` times as large or more, all have at
    least `side` pixels."""
    return math.ceil((side + _GREATEST_SHIFT - 1) / least_scale)


def random_view(
    output: Tensor, images: Tensor, step: int, scales: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Both (B, 3, H, W) under one transform that follows from the step alone, so that ranks,
    micro-batches and a resumed run see the same: resized by a factor between `scales`, up to seven
    rows and columns cut off, mirrored, transposed, colours mixed and brightness moved."""
    generator = torch.Generator().manual_seed(mix(step, _STREAM))
    uniform = torch.rand(5, generator=generator).tolist()
    shift = torch.randint(_GREATEST_SHIFT, (2,), generator=generator).tolist()
    mixing = torch.randn(3, 3, generator=generator).to(images)
    brightness = 0.1 * float(torch.randn((), generator=generator))

    least, greatest = scales
    scale = least * (greatest / least) ** uniform[0]
    size = [round(side * scale) for side in images.shape[2:]]
    matrix = torch.eye(3).to(images) + _COLOUR * mixing

    def view(x: Tensor) -> Tensor:
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        x = x[..., shift[0] :, shift[1] :]
        x = x.flip(-1) if uniform[1] < 0.5 else x
        x = x.transpose(-1, -2) if uniform[2] < 0.5 else x
        return torch.einsum("ij,bjhw->bihw", matrix, x) + brightness

    return view(output), view(images)
