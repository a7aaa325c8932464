"""A prior for a model, from what the model makes of images."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ldm_ae.codec.fitting.fit import Kind, fit_prior
from ldm_ae.codec.priors.base import Prior
from ldm_ae.data.images import pad_to_multiple, to_float
from ldm_ae.data.reading import Reader
from ldm_ae.models.base import Autoencoder

MAX_SIDE = 512  # of the images that are looked at; larger ones show their middle


class Samples:
    """Latents or code indices of images, up to a bounded number of values; later ones are
    passed over."""

    def __init__(self, max_values: int = 1 << 24) -> None:
        self.items: list[np.ndarray] = []
        self._room = max_values

    def add(self, batch: Tensor) -> None:
        """Latents (B, c, h, w) or indices (B, h, w)."""
        for item in batch.detach().cpu().numpy():
            if item.size <= self._room:
                self.items.append(item.copy())
                self._room -= item.size


def fit(model: Autoencoder, samples: Samples, kind: Kind = "factorised") -> Prior:
    """The prior of a model's latents or indices. Raises UserError for no samples, and for
    latents that are all the same."""
    codes = None
    if model.quantizer is not None:
        codes = model.quantizer.codes().detach().cpu().float().numpy()
    return fit_prior(samples.items, kind, codes=codes)


def calibrate(model: Autoencoder, images: Iterable[np.ndarray], kind: Kind = "factorised") -> Prior:
    """Fit a prior to what a model makes of images, uint8 (H, W, C) of any size; the model is in
    eval mode. Raises UserError as `fit`."""
    samples, device = Samples(), next(model.parameters()).device
    for image in images:
        padded, _ = pad_to_multiple(to_float(image).to(device), model.downsampling_factor)
        with torch.no_grad():
            if model.quantizer is None:
                samples.add(model.encode(padded).float())
            else:
                samples.add(model.encode_indices(padded))
    return fit(model, samples, kind)


def calibration_images(
    paths: list[Path], reader: Reader, max_images: int, progress: bool = False
) -> Iterator[np.ndarray]:
    """The middles of so many of these files, in random order, uint8 (H, W, C); without those that
    the reader has to leave out."""
    chosen = random.Random(0).sample(sorted(paths), min(max_images, len(paths)))
    for _, image in reader.images(tqdm(chosen, "images", disable=not progress)):
        top, left = (max(0, (size - MAX_SIDE) // 2) for size in image.shape[:2])
        yield image[top : top + MAX_SIDE, left : left + MAX_SIDE]
