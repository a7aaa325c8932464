"""How a metric ranks distortions, beside LPIPS-squeeze: what the embedded network was made for.

For each family of distortions: Spearman's rank correlation with LPIPS-squeeze over all photos and
strengths, and over the photos at one strength (the mean over strengths), which gives nothing away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ldm_ae.bench.coder import Pixels
from ldm_ae.bench.photos import Photo, to_tensor
from ldm_ae.bench.unseen_distortions import FAMILIES
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Panel
from ldm_ae.metrics.table import METRICS
from ldm_ae.models.base import Autoencoder

REFERENCE = "lpips_squeeze"
COMPARED = ("embedded", "ms_ssim")
LATENT_NOISE = (0.0, 0.25, 0.5, 1.0)  # in deviations of the photo's own latents

Family = Callable[[Pixels], list[Pixels]]  # a photo -> its distorted versions, by strength


def unseen_families() -> dict[str, Family]:
    """Those of `unseen_distortions`."""
    return {name: partial(_distort, name) for name in FAMILIES}


def _distort(name: str, photo: Pixels) -> list[Pixels]:
    apply, strengths = FAMILIES[name]
    return [apply(photo, strength) for strength in strengths]


@torch.inference_mode()
def noisy_reconstructions(model: Autoencoder, photo: Pixels) -> list[Pixels]:
    """A family of an autoencoder: its output with more and more noise in the latents. A remainder
    at the edge stays the photo's."""
    factor = model.downsampling_factor
    height, width = (side // factor * factor for side in photo.shape[:2])
    latents = model.encode(to_float(photo[:height, :width]))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noise *= latents.std(dim=(0, 2, 3), keepdim=True)
    found = []
    for scale in LATENT_NOISE:
        version = photo.copy()
        images = model.decode(latents + scale * noise)
        version[:height, :width] = to_uint8(images)[0].permute(1, 2, 0).numpy()
        found.append(version)
    return found


def agreement(
    families: Mapping[str, Family], photos: Iterable[Photo], panel: Panel
) -> list[dict[str, Any]]:
    """A row for each family. panel: of the reference and the compared metrics. Raises UserError
    for one that cannot be had."""
    for name, reason in panel.reasons.items():
        raise UserError(f"{METRICS[name].label} is needed: {reason}")
    found: dict[str, dict[str, list[list[float]]]] = {
        family: {name: [] for name in panel.names} for family in families
    }
    for photo in photos:
        pixels = photo.pixels()
        original = panel.see(to_tensor(pixels))
        for family, distort in families.items():
            scores = [original.scores(to_tensor(version))[0] for version in distort(pixels)]
            for name in panel.names:
                sign = -1 if METRICS[name].higher_is_better else 1  # as a distance
                values = [score.values[name] for score in scores]
                if None in values:
                    raise UserError(f"{photo.name}, {family}: {scores[0].reasons}")
                found[family][name].append([sign * (value or 0.0) for value in values])
    return [{"family": family} | correlations(values) for family, values in found.items()]


def correlations(distances: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Of one family, distances by metric as (photos, strengths)."""
    arrays = {name: np.array(rows) for name, rows in distances.items()}
    reference = arrays[REFERENCE]
    row = {}
    for name in COMPARED:
        row[f"spearman_{name}"] = _spearman(arrays[name].ravel(), reference.ravel())
        columns = zip(arrays[name].T, reference.T, strict=True)
        row[f"same_strength_{name}"] = float(np.mean([_spearman(v, r) for v, r in columns]))
    return row | {f"mean_{name}": float(abs(array.mean())) for name, array in arrays.items()}


def _spearman(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(spearmanr(values, reference).statistic)
