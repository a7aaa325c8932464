"""PSNR, SSIM and MS-SSIM: full-reference distortion, per image, in float64.

Every function takes two (B, C, H, W) tensors of one type and gives (B,) float64 on their device.
`data_range` is the distance from black to white: 255 for uint8 (the default there), 1 for floats in
[0, 1]. Floats have no default, since a wrong range moves SSIM without a sign. PSNR takes images in
[-1, 1] with a range of 2; SSIM compares ratios of means, so that black must be 0.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5
K1, K2 = 0.01, 0.03
# Wang et al. 2003, table of the fitted exponents, finest scale first.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = (WINDOW_SIZE - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1


def psnr(x: Tensor, y: Tensor, data_range: float | None = None) -> Tensor:
    """10 log10(data_range^2 / mean squared error over all channels), in dB; inf if equal.

    Raises ValueError for shapes or types that differ, and for floats without a range.
    """
    x, y, data_range = _prepare(x, y, data_range)
    mean_squared_error = (x - y).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / mean_squared_error)


def ssim(x: Tensor, y: Tensor, data_range: float | None = None) -> Tensor:
    """Structural similarity, Wang et al. 2004, eq. 13: Gaussian window 11 x 11, sigma 1.5.

    Windows that lie wholly inside the image, weighted covariance without Bessel's correction,
    the mean over positions, then over channels. Raises ValueError as `psnr` does, and for a
    side under 11 pixels, and values below 0.
    """
    x, y, data_range = _prepare(x, y, data_range)
    _require_black_at_0(x, y)
    _require_side(x, WINDOW_SIZE, "SSIM's 11 x 11 window")
    similarity, _ = _similarity(x, y, data_range)
    return similarity.mean(dim=1)


def ms_ssim(x: Tensor, y: Tensor, data_range: float | None = None) -> Tensor:
    """Multi-scale SSIM, Wang, Simoncelli and Bovik 2003, eq. 7, on five scales.

    2 x 2 means between the scales (an odd last row or column is averaged by itself), contrast
    and structure at each, luminance at the coarsest only, their weighted product per channel,
    then the mean over channels. A negative term counts as 0, as in pytorch-msssim, since its
    power is not real. Raises ValueError as `ssim` does, and for a side of 160 pixels or less,
    where the coarsest scale has no room for the window.
    """
    x, y, data_range = _prepare(x, y, data_range)
    _require_black_at_0(x, y)
    _require_side(x, MS_SSIM_MIN_SIDE, "MS-SSIM's five scales")
    product = x.new_ones(x.shape[:2])  # (B, C)
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale > 0:
            x, y = (avg_pool2d(images, kernel_size=2, ceil_mode=True) for images in (x, y))
        similarity, contrast_structure = _similarity(x, y, data_range)
        is_coarsest = scale == len(MS_SSIM_WEIGHTS) - 1
        term = similarity if is_coarsest else contrast_structure
        product = product * term.clamp(min=0) ** weight
    return product.mean(dim=1)


def _similarity(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """(B, C) means over positions of l * c * s (SSIM) and of c * s alone."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x * mean_x
    variance_y = _blur(y * y) - mean_y * mean_y
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    contrast_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * contrast_structure).mean(dim=(2, 3)), contrast_structure.mean(dim=(2, 3))


def _blur(images: Tensor) -> Tensor:
    """Gaussian-weighted means, (B, C, H, W) -> (B, C, H - 10, W - 10).

    Sums of shifted planes: thirteen times faster than a float64 convolution on a CPU.
    """
    offsets = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    window = torch.exp(-offsets.square() / (2 * WINDOW_SIGMA**2))
    taps: list[float] = (window / window.sum()).tolist()
    height, width = images.shape[2] - WINDOW_SIZE + 1, images.shape[3] - WINDOW_SIZE + 1
    blurred = images.new_empty((*images.shape[:2], height, width))
    for plane, result in zip(images.flatten(0, 1), blurred.view(-1, height, width), strict=True):
        columns = torch.zeros_like(plane[:, :width])
        for shift, tap in enumerate(taps):
            columns.add_(plane[:, shift : shift + width], alpha=tap)
        result.zero_()
        for shift, tap in enumerate(taps):
            result.add_(columns[shift : shift + height], alpha=tap)
    return blurred


def _prepare(x: Tensor, y: Tensor, data_range: float | None) -> tuple[Tensor, Tensor, float]:
    if x.shape != y.shape or x.dtype != y.dtype:
        raise ValueError(
            "two images are compared in one shape and type; got "
            f"{tuple(x.shape)} {x.dtype} and {tuple(y.shape)} {y.dtype}"
        )
    if x.ndim != 4:
        raise ValueError(f"images must be (B, C, H, W); got shape {tuple(x.shape)}")
    if data_range is None:
        if x.dtype != torch.uint8:
            raise ValueError(
                f"data_range is not given and {x.dtype} has none of its own: "
                "pass 2.0 for images in [-1, 1], 1.0 for [0, 1]"
            )
        data_range = 255.0
    return x.double(), y.double(), data_range


def _require_black_at_0(x: Tensor, y: Tensor) -> None:
    least = min(float(x.amin()), float(y.amin())) if x.numel() else 0.0
    if least < 0:
        raise ValueError(f"SSIM is of values from 0 on; got {least}: add 1 to images in [-1, 1]")


def _require_side(images: Tensor, minimum: int, what: str) -> None:
    height, width = images.shape[2:]
    if min(height, width) < minimum:
        raise ValueError(f"{what} need at least {minimum} pixels a side; got {width} x {height}")
