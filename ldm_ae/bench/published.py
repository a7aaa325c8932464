"""Curves of codecs that cannot be run here, as their authors published them. Facts, not
measurements of ours; they hold for the 24 Kodak photos alone.

Sources, by the name that each curve gives:
- CompressAI: its results on Kodak (results/image/kodak, snapshot 869a9f5), interpolated linearly
  over the log of the rate to four rates.
- the ELIC paper (He et al. 2022), its figures.
- NeuralCompression: projects/illm/results.csv (Muckley et al. 2023); LPIPS is of AlexNet.
- iwa-shi/CRDR: rd_results/kodak.csv (Iwai et al. 2024), at two realism weights beta.
- iwa-shi/DC_VIC: rd_results/kodak.csv, the `oasis` model of variable rate.
The last two do not say which network their LPIPS is of: it stands beside no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KODAK_NAMES = tuple(f"kodim{number:02d}.png" for number in range(1, 25))
UNNAMED_LPIPS = "lpips, net not named"


@dataclass(frozen=True)
class PublishedCurve:
    """(bpp, value) by metric of `ldm_ae.metrics.table`, or UNNAMED_LPIPS; "psnr" is of RGB."""

    name: str
    source: str
    points: dict[str, tuple[tuple[float, float], ...]]


def _curve(
    name: str, source: str, rates: Sequence[float], **columns: tuple[float, ...]
) -> PublishedCurve:
    """Columns may end before the rates do."""
    points = {
        UNNAMED_LPIPS if metric == "lpips" else metric: tuple(zip(rates, values, strict=False))
        for metric, values in columns.items()
    }
    return PublishedCurve(name, source, points)


_RATES = (0.15, 0.25, 0.5, 1.0)
_CRDR_RATES = (0.1094, 0.1497, 0.2043, 0.2884, 0.4024)

# fmt: off
PUBLISHED = (
    _curve("BPG 4:4:4", "CompressAI", _RATES,
           psnr=(28.48, 30.32, 33.32, 37.16), ms_ssim=(0.920, 0.945, 0.972, 0.987)),
    _curve("VTM", "CompressAI", _RATES,
           psnr=(29.49, 31.27, 34.37, 38.24), ms_ssim=(0.932, 0.957, 0.978, 0.990)),
    _curve("bmshj2018-factorized", "CompressAI", _RATES,
           psnr=(27.52, 29.15, 31.83, 35.58), ms_ssim=(0.922, 0.949, 0.974, 0.988)),
    _curve("bmshj2018-hyperprior", "CompressAI", _RATES,
           psnr=(28.04, 29.95, 33.06, 37.14), ms_ssim=(0.925, 0.950, 0.976, 0.990)),
    _curve("mbt2018", "CompressAI", _RATES,
           psnr=(28.99, 30.80, 33.83, 37.77), ms_ssim=(0.934, 0.956, 0.978, 0.991)),
    _curve("cheng2020-anchor", "CompressAI", _RATES,
           psnr=(29.31, 31.06, 34.27), ms_ssim=(0.936, 0.960, 0.980)),
    _curve("ELIC", "the ELIC paper", _RATES, psnr=(29.78, 31.65, 34.68)),
    _curve("MS-ILLM", "NeuralCompression", (0.0443, 0.0806, 0.1532, 0.2958, 0.4324),
           psnr=(24.73, 25.92, 27.53, 29.63, 31.03), ms_ssim=(0.846, 0.890, 0.928, 0.960, 0.972),
           lpips_alex=(0.1576, 0.1100, 0.0732, 0.0451, 0.0320),
           dists=(0.1346, 0.1085, 0.0809, 0.0615, 0.0487)),
    _curve("MS-ILLM without GAN", "NeuralCompression", (0.0440, 0.0800, 0.1525, 0.2948, 0.4301),
           psnr=(25.52, 26.83, 28.61, 30.58, 32.11), ms_ssim=(0.864, 0.906, 0.941, 0.967, 0.977),
           lpips_alex=(0.1491, 0.1017, 0.0653, 0.0397, 0.0270),
           dists=(0.1683, 0.1381, 0.1079, 0.0851, 0.0714)),
    _curve("CRDR, beta 3.84", "iwa-shi/CRDR", _CRDR_RATES,
           psnr=(27.45, 28.52, 29.52, 30.91, 32.16), lpips=(0.0963, 0.0765, 0.0591, 0.0443, 0.0331),
           dists=(0.1040, 0.0891, 0.0740, 0.0600, 0.0462)),
    _curve("CRDR, beta 0", "iwa-shi/CRDR", _CRDR_RATES,
           psnr=(28.13, 29.15, 30.23, 31.54, 32.94), lpips=(0.2641, 0.2189, 0.1724, 0.1335, 0.0992),
           dists=(0.1974, 0.1751, 0.1514, 0.1276, 0.1030)),
    _curve("DC-VIC", "iwa-shi/DC_VIC", (0.0537, 0.0860, 0.1164, 0.1507, 0.1888),
           psnr=(25.14, 26.32, 26.98, 27.80, 28.57), lpips=(0.1290, 0.0961, 0.0812, 0.0679, 0.0582),
           dists=(0.1205, 0.0958, 0.0830, 0.0747, 0.0687)),
)
# fmt: on


def published_for(names: Sequence[str]) -> tuple[PublishedCurve, ...]:
    """The curves, if the images of these names are the 24 Kodak photos; else none."""
    return PUBLISHED if sorted(names) == list(KODAK_NAMES) else ()
