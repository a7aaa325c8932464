"""Fréchet distance between originals and what coders give back, on features of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ldm_ae.bench.coder import Coder, Pixels
from ldm_ae.bench.photos import Photo, to_tensor
from ldm_ae.errors import UserError
from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance

PATCH, STEP = 256, 128
PROTOCOL = {
    "samples": f"patches of {PATCH} px, {STEP} px apart, of images at least as large; others whole",
    "frechet": "between all samples of the originals and of the decoded images; it hangs on the "
    "network and on the number of samples",
    "floor": "the same distance between the originals of even and of odd place, half the samples "
    "each: two sets that are alike",
}


def patches(pixels: Pixels) -> Tensor:
    """(H, W, 3) -> (N, 3, h, w), uint8, N at least 1."""
    image = to_tensor(pixels)
    if min(image.shape[2:]) < PATCH:
        return image
    windows = image[0].unfold(1, PATCH, STEP).unfold(2, PATCH, STEP)  # (3, rows, columns, h, w)
    return windows.flatten(1, 2).transpose(0, 1)


def frechet_rows(
    coders: Sequence[Coder],
    photos: Sequence[Photo],
    features: Callable[[Tensor], Tensor],
    after_image: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """A row for each point of each coder: name, quality, mean bpp, distance, samples, floor.

    features: images (N, 3, H, W), uint8 -> (N, d). Raises UserError for fewer than two samples in
    a half of the originals.
    """
    halves: list[FeatureMoments] = []
    for start in (0, 1):
        chosen = [photo.pixels() for photo in photos[start::2]]
        if not chosen:
            raise UserError(f"{len(photos)} image: a Fréchet distance needs more")
        halves.append(_moments(chosen, features))
    originals, floor = halves[0] + halves[1], frechet_distance(*halves)
    rows = []
    for coder in coders:
        for point in coder.points:
            decoded: list[Pixels] = []
            bpp = 0.0
            for photo in photos:
                pixels = photo.pixels()
                file = coder.encode(pixels, point)
                decoded.append(coder.decode(file, point))
                bpp += 8 * len(file) / pixels[..., 0].size / len(photos)
                after_image()
            distance = frechet_distance(originals, _moments(decoded, features))
            row = {"name": coder.name, "variant": point.variant, "quality": point.quality}
            row |= {"bpp": bpp, "frechet": distance, "floor": floor}
            rows.append(row | {"num_samples": originals.count})
    return rows


@torch.inference_mode()
def _moments(images: Sequence[Pixels], features: Callable[[Tensor], Tensor]) -> FeatureMoments:
    first, *others = (FeatureMoments.of(features(patches(pixels))) for pixels in images)
    return sum(others, start=first)
