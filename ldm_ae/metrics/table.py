"""Every metric that this package knows: one line each, which all that measures reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ldm_ae.errors import UserError
from ldm_ae.losses.embedded import EmbeddedPerceptual
from ldm_ae.losses.perceptual import MIN_SIZE, PerceptualNet
from ldm_ae.metrics.distortion import MS_SSIM_MIN_SIDE, WINDOW_SIZE, ms_ssim, psnr, ssim
from ldm_ae.metrics.dists import open_dists
from ldm_ae.metrics.flip import open_flip
from ldm_ae.metrics.judges import FeatureJudge, Judge, Networks, PixelJudge
from ldm_ae.metrics.ssimulacra2 import MIN_SIDE, SSIMULACRA2


@dataclass(frozen=True)
class Metric:
    """label, format: of a column, such as "PSNR, dB" and ".2f".

    protocol: which network, window or constants; both images are always rounded to uint8.
    open: what computes it; raises UserError or ImportError, the reason, where a network or a
        package is missing. None: it is of sets of images and not of pairs.
    min_side: the least side in pixels of the images it takes.
    quick: cheap and without a network, so that every validation measures it.
    """

    label: str
    format: str
    higher_is_better: bool
    protocol: str
    open: Callable[[Networks], Judge] | None
    min_side: int = 1
    quick: bool = False


def _network(net: PerceptualNet, networks: Networks) -> Judge:
    return FeatureJudge(networks.perceptual(net))


def _lpips(net: PerceptualNet, backbone: str) -> Metric:
    protocol = f"Zhang et al. 2018 on {backbone} with the heads of the lpips package, v0.1"
    return Metric(
        f"LPIPS-{net}", ".4f", False, protocol, partial(_network, net), min_side=MIN_SIZE[net]
    )


LPIPS = {
    "lpips_alex": _lpips("alex", "AlexNet"),
    "lpips_vgg": _lpips("vgg", "VGG16"),
    "lpips_squeeze": _lpips("squeeze", "SqueezeNet 1.1"),
}
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR, dB",
        ".2f",
        True,
        "one mean squared error over all channels and pixels, peak 255",
        lambda _: PixelJudge(psnr),
        quick=True,
    ),
    "ssim": Metric(
        "SSIM",
        ".4f",
        True,
        "Gaussian 11x11, sigma 1.5, K1 0.01, K2 0.03, range 255, valid windows, mean of channels",
        lambda _: PixelJudge(ssim),
        min_side=WINDOW_SIZE,
        quick=True,
    ),
    "ms_ssim": Metric(
        "MS-SSIM",
        ".4f",
        True,
        "five scales, weights of Wang et al. 2003, 2x2 means between scales, mean of channels",
        lambda _: PixelJudge(ms_ssim),
        min_side=MS_SSIM_MIN_SIDE,
        quick=True,
    ),
    **LPIPS,
    "dists": Metric(
        "DISTS",
        ".4f",
        False,
        "Ding et al. 2020 on VGG16 with the package's alpha and beta, at the images' own size",
        open_dists,
        min_side=MIN_SIZE["vgg"],
    ),
    "ssimulacra2": Metric(
        "SSIMULACRA 2",
        ".2f",
        True,
        "version 2.1 as its C++ source has it, sRGB; 100 is equal, below 30 it was not tuned",
        lambda _: SSIMULACRA2(),
        min_side=MIN_SIDE,
    ),
    "flip": Metric(
        "FLIP",
        ".4f",
        False,
        "LDR-FLIP of the flip-evaluator package, 67 pixels a degree, mean over pixels",
        open_flip,
    ),
    "embedded": Metric(
        "embedded",
        ".4f",
        False,
        "the small network of this package, distilled from LPIPS-squeeze; it is not LPIPS",
        partial(_network, "embedded"),
        min_side=EmbeddedPerceptual.min_size,
    ),
    "frechet": Metric(
        "Fréchet distance",
        ".4g",
        False,
        "features of MobileNetV2, not of Inception: it is not FID",
        None,
    ),
}
ON_PAIRS = tuple(name for name, metric in METRICS.items() if metric.open is not None)
QUICK = tuple(name for name, metric in METRICS.items() if metric.quick)
# The metric that each perceptual network of a loss computes.
OF_NETWORK: dict[PerceptualNet, str] = {
    "alex": "lpips_alex",
    "vgg": "lpips_vgg",
    "squeeze": "lpips_squeeze",
    "embedded": "embedded",
}


def require_metric(name: str, key: str) -> None:
    """Raise UserError, naming `key`, for a metric that is not in the table."""
    if name not in METRICS:
        raise UserError(f"{key}={name}: there is no such metric; name one of {', '.join(METRICS)}")
