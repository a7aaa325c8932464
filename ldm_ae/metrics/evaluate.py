"""One pass of a reconstruction over images: a row of scores for each.

Protocol: original and reconstruction are clamped and rounded to uint8 before any metric; each
metric is taken per image; a mean is the plain mean of the per-image values.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual
from ldm_ae.metrics.distortion import ms_ssim, psnr, ssim

METRICS = ("psnr", "ssim", "ms_ssim", "perceptual")
NOT_ASKED = "no perceptual network was asked for"


@dataclass(frozen=True)
class ImageScores:
    """One image's scores, or the means of many. A metric that is None has its `reasons` entry.

    psnr: dB. ssim, ms_ssim: 1 is equal. perceptual: the distance of the network that was given,
        LPIPS or not (its `.name` says so): 0 is equal.
    """

    psnr: float | None
    ssim: float | None
    ms_ssim: float | None
    perceptual: float | None
    reasons: dict[str, str] = field(default_factory=dict)


def open_perceptual(config: PerceptualConfig) -> tuple[nn.Module | None, str]:
    """The perceptual network and its name; or None and the reason why it cannot be had."""
    if config.net == "none":
        return None, NOT_ASKED
    try:
        perceptual = build_perceptual(config)
    except ValueError as error:
        return None, str(error)
    return perceptual, perceptual.name


def is_lpips(perceptual: nn.Module) -> bool:
    """Whether a perceptual network's distance may be called LPIPS."""
    return str(getattr(perceptual, "name", "")).startswith("LPIPS")


def evaluate(
    reconstruct: Callable[[Tensor], Tensor],
    images: Iterable[Tensor],
    perceptual: nn.Module | None = None,
    without_perceptual: str = NOT_ASKED,
) -> list[ImageScores]:
    """Scores of `reconstruct` on batches of images, in their order.

    reconstruct: (B, C, H, W) in [-1, 1] -> the same shape, such as a model's `.reconstruct`.
    images: batches of (B, C, H, W) floats in [-1, 1], on the device `reconstruct` wants.
    perceptual: images in [-1, 1], twice -> distances (B,); None makes that score None for the
        reason `without_perceptual`.
    """
    scores: list[ImageScores] = []
    with torch.inference_mode():
        for batch in images:
            scores += score(batch, reconstruct(batch), perceptual, without_perceptual)
    return scores


def score(
    originals: Tensor,
    reconstructions: Tensor,
    perceptual: nn.Module | None = None,
    without_perceptual: str = NOT_ASKED,
) -> list[ImageScores]:
    """Scores of (B, C, H, W) reconstructions in [-1, 1], both sides rounded to uint8 first.

    Raises ValueError if the shapes differ or a reconstruction is not finite.
    """
    if originals.shape != reconstructions.shape:
        raise ValueError(
            f"images {tuple(originals.shape)} came back as {tuple(reconstructions.shape)}: "
            "they cannot be compared"
        )
    if not torch.isfinite(reconstructions).all():
        raise ValueError("a reconstruction is not finite, so it has no score: check the weights")
    x, y = to_uint8(originals), to_uint8(reconstructions)
    columns: dict[str, list[float] | str] = {
        "psnr": psnr(x, y).tolist(),
        "ssim": _values_or_reason(ssim, x, y),
        "ms_ssim": _values_or_reason(ms_ssim, x, y),
        "perceptual": without_perceptual,
    }
    if perceptual is not None:
        columns["perceptual"] = _values_or_reason(perceptual, to_float(x), to_float(y))
    return [_image_scores(columns, index) for index in range(len(x))]


def _values_or_reason(
    metric: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> list[float] | str:
    """One value per image; or, for images the metric refuses, what it said."""
    try:
        values: list[float] = metric(x, y).double().tolist()
    except ValueError as error:
        return str(error)
    return values


def _image_scores(columns: dict[str, list[float] | str], index: int) -> ImageScores:
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, column in columns.items():
        values[name] = None if isinstance(column, str) else column[index]
        if isinstance(column, str):
            reasons[name] = column
    if values["psnr"] == math.inf:
        values["psnr"], reasons["psnr"] = None, "infinite: equal to the original in every pixel"
    return ImageScores(**values, reasons=reasons)


def mean_scores(scores: Sequence[ImageScores]) -> ImageScores:
    """The mean of each metric over images; None, with the reason, if any image lacks it.

    Raises ValueError if there are no images.
    """
    if not scores:
        raise ValueError("no image was scored: there is no mean")
    means: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in METRICS:
        values = [getattr(image, name) for image in scores]
        missing = [image.reasons[name] for image in scores if getattr(image, name) is None]
        means[name] = None if missing else math.fsum(values) / len(values)
        if missing:
            reasons[name] = f"{len(missing)} of {len(scores)} images have none: {missing[0]}"
    return ImageScores(**means, reasons=reasons)
