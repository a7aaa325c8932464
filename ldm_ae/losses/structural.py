"""Structure as a term to train with: multi-scale SSIM of image crops."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5
# (k L)^2 of Wang et al. 2004, where black and white are L = 2 apart.
_C1, _C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
# Wang, Simoncelli and Bovik 2003, finest scale first.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def structural_loss(output: Tensor, images: Tensor) -> Tensor:
    """1 - the weighted mean over scales of SSIM's terms, of images (B, C, H, W) in [-1, 1].

    Contrast and structure at every scale, luminance at the coarsest, as in MS-SSIM (Wang et al.
    2003, eq. 7), on as many of its five scales as an 11 x 11 window fits into. Their mean is taken
    instead of the product of their powers, whose gradient vanishes where one scale is still bad.
    """
    # Luminance compares ratios of means, which have a meaning from black = 0 on alone.
    output, images = output + 1, images + 1
    scales = num_scales(min(images.shape[2:]))
    total = images.new_zeros(())
    for scale, weight in enumerate(_WEIGHTS[:scales]):
        if scale:
            output, images = F.avg_pool2d(output, 2), F.avg_pool2d(images, 2)
        total = total + weight * _similarity(output, images, luminance=scale == scales - 1)
    return 1 - total / sum(_WEIGHTS[:scales])


def num_scales(side: int) -> int:
    """How many of the five scales have room for the window; 0 for a side under 11 pixels."""
    return sum(side >> scale >= WINDOW_SIZE for scale in range(len(_WEIGHTS)))


def _similarity(x: Tensor, y: Tensor, luminance: bool) -> Tensor:
    """Mean of c s, or of l c s, over windows that lie inside (Wang et al. 2004, eqs. 6 to 10)."""
    # One pass for all five moments: a depthwise convolution costs what its memory traffic does.
    mean_x, mean_y, square_x, square_y, product = _blur(
        torch.cat([x, y, x * x, y * y, x * y], dim=1)
    ).chunk(5, dim=1)
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    similarity = (2 * (product - mean_x * mean_y) + _C2) / (variances + _C2)
    if luminance:
        level = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
        similarity = similarity * level
    return similarity.mean()


def _blur(planes: Tensor) -> Tensor:
    offsets = torch.arange(WINDOW_SIZE, device=planes.device) - WINDOW_SIZE // 2
    window = torch.exp(-offsets.to(planes.dtype).square() / (2 * WINDOW_SIGMA**2))
    row = (window / window.sum()).expand(planes.shape[1], 1, 1, WINDOW_SIZE)
    across = F.conv2d(planes, row, groups=planes.shape[1])
    return F.conv2d(across, row.transpose(2, 3), groups=planes.shape[1])
