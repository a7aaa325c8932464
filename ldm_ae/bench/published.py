"""Curves of codecs that cannot be run here, as their authors published them. Facts, not
measurements of ours; they hold for the 24 Kodak photos alone.

Rates and scores: CompressAI's results on Kodak (results/image/kodak, snapshot 869a9f5),
interpolated linearly over the log of the rate to four rates; ELIC from its paper; MS-ILLM and the
same codec without a GAN from NeuralCompression (projects/illm/results.csv). LPIPS of the latter is
of AlexNet.
"""

from dataclasses import dataclass

KODAK_NAMES = tuple(f"kodim{number:02d}.png" for number in range(1, 25))


@dataclass(frozen=True)
class PublishedCurve:
    """(bpp, value) by metric of `ldm_ae.metrics.table`; "psnr" is of RGB."""

    name: str
    source: str
    points: dict[str, tuple[tuple[float, float], ...]]


_RATES = (0.15, 0.25, 0.5, 1.0)
_ILLM_RATES = (0.0443, 0.0806, 0.1532, 0.2958, 0.4324, 0.7092)
_NO_GAN_RATES = (0.0440, 0.0800, 0.1525, 0.2948, 0.4301)


def _compressai(
    name: str, psnr: tuple[float, ...], ms_ssim: tuple[float, ...], source: str = "CompressAI"
) -> PublishedCurve:
    points = {"psnr": tuple(zip(_RATES, psnr, strict=False))}
    if ms_ssim:
        points["ms_ssim"] = tuple(zip(_RATES, ms_ssim, strict=False))
    return PublishedCurve(name, source, points)


PUBLISHED = (
    _compressai("BPG 4:4:4", (28.48, 30.32, 33.32, 37.16), (0.920, 0.945, 0.972, 0.987)),
    _compressai("VTM", (29.49, 31.27, 34.37, 38.24), (0.932, 0.957, 0.978, 0.990)),
    _compressai("bmshj2018-factorized", (27.52, 29.15, 31.83, 35.58), (0.922, 0.949, 0.974, 0.988)),
    _compressai("bmshj2018-hyperprior", (28.04, 29.95, 33.06, 37.14), (0.925, 0.950, 0.976, 0.990)),
    _compressai("mbt2018", (28.99, 30.80, 33.83, 37.77), (0.934, 0.956, 0.978, 0.991)),
    _compressai("cheng2020-anchor", (29.31, 31.06, 34.27), (0.936, 0.960, 0.980)),
    _compressai("ELIC", (29.78, 31.65, 34.68), (), source="the ELIC paper"),
    PublishedCurve(
        "MS-ILLM",
        "NeuralCompression",
        {
            "psnr": tuple(
                zip(_ILLM_RATES, (24.73, 25.92, 27.53, 29.63, 31.03, 33.21), strict=True)
            ),
            "lpips_alex": tuple(
                zip(_ILLM_RATES, (0.158, 0.110, 0.0732, 0.0451, 0.0320, 0.0180), strict=True)
            ),
        },
    ),
    PublishedCurve(
        "MS-ILLM without GAN",
        "NeuralCompression",
        {
            "psnr": tuple(zip(_NO_GAN_RATES, (25.52, 26.83, 28.61, 30.58, 32.11), strict=True)),
            "lpips_alex": tuple(
                zip(_NO_GAN_RATES, (0.149, 0.102, 0.0653, 0.0397, 0.0270), strict=True)
            ),
        },
    ),
)


def published_for(names: list[str]) -> tuple[PublishedCurve, ...]:
    """The curves, if the images of these names are the 24 Kodak photos; else none."""
    return PUBLISHED if sorted(names) == list(KODAK_NAMES) else ()
