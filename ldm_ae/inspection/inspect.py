"""The card of one model: numbers, and pictures as PNG in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.photos import Photo
from ldm_ae.bench.reconstruction import compare
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.errors import UserError
from ldm_ae.export.statistics import measure_latents
from ldm_ae.files import replacing
from ldm_ae.inspection.equivariance import equivariance
from ldm_ae.inspection.numbers import (
    correlation,
    greatest_correlation,
    nats_from_normal,
    radial_spectrum,
    share_above,
    spectral_slope,
)
from ldm_ae.inspection.pictures import chance, interpolations, latents_as_colours
from ldm_ae.metrics.panel import Panel
from ldm_ae.models.base import Autoencoder
from ldm_ae.quantizers.usage import count_codes
from ldm_ae.viz import latent_plots
from ldm_ae.viz.gallery import centre_crop

LEAST_LATENTS = 8  # a side, for a spectrum
SHOWN = 4  # photos whose latents are pictured
CHANCE = 4


def inspect(
    name: str, model: Autoencoder, photos: Sequence[Photo], panel: Panel, folder: Path, side: int
) -> dict[str, Any]:
    """Measure a model in eval mode on the middle `side` px squares of photos, scores on the whole
    ones; write the pictures into `folder`.

    Returns numbers that JSON takes, the names of the pictures by what they show among them.
    Raises UserError where squares are too small for a spectrum, and as `measure_latents`.
    """
    pixels = [photo.pixels() for photo in photos]
    side = min(side, *(min(each.shape[:2]) for each in pixels))
    side -= side % (2 * model.downsampling_factor)
    if side < LEAST_LATENTS * model.downsampling_factor:
        raise UserError(
            f"squares of {side} px, the shortest side of the images or --side, are too small:"
            f" {name} needs {LEAST_LATENTS * model.downsampling_factor} px"
        )
    device = next(model.parameters()).device
    crops = torch.cat([to_float(centre_crop(each, side)) for each in pixels]).to(device)
    found = _numbers(model, crops)
    (scores,) = compare([RawLatents(name, model, device)], photos, panel)
    found |= {"scores": scores, "equivariance": _equivariance(model, crops)}
    return found | {"pictures": _draw(model, crops, found, folder)}


def _numbers(model: Autoencoder, crops: Tensor) -> dict[str, Any]:
    statistics = measure_latents(model, crops.split(1))
    latents = scaled_latents(model, crops)
    frequencies, powers = radial_spectrum(latents)
    correlations = correlation(latents)
    return {
        "title": model.title,
        "downsampling_factor": model.downsampling_factor,
        "latent_channels": model.latent_channels,
        "num_parameters": sum(value.numel() for value in model.parameters()),
        "scaling_factor": model.scaling_factor,
        "shift_factor": model.shift_factor,
        "statistics": asdict(statistics),
        "scaled_mean": latents.double().mean(dim=(0, 2, 3)).tolist(),
        "scaled_std": latents.double().std(dim=(0, 2, 3), correction=0).tolist(),
        "correlation": correlations.tolist(),
        "greatest_correlation": greatest_correlation(correlations),
        "nats_from_normal": nats_from_normal(latents),
        "spectrum": {"frequencies": frequencies.tolist(), "powers": powers.tolist()},
        "spectral_slope": spectral_slope(frequencies, powers),
        "share_above_quarter": share_above(frequencies, powers),
        "code_counts": _code_counts(model, crops),
    }


@torch.inference_mode()
def scaled_latents(model: Autoencoder, images: Tensor) -> Tensor:
    """(z - shift) * scale, (B, c, h, w), image by image."""
    latents = torch.cat([model.encode(image).float().cpu() for image in images.split(1)])
    return (latents - model.shift_factor) * model.scaling_factor


@torch.inference_mode()
def _code_counts(model: Autoencoder, images: Tensor) -> list[int] | None:
    if model.quantizer is None:
        return None
    num_codes = model.quantizer.num_codes
    counts = torch.zeros(num_codes, dtype=torch.int64)
    for image in images.split(1):
        counts += count_codes(model.encode_indices(image).cpu(), num_codes)
    found: list[int] = counts.tolist()
    return found


def _equivariance(model: Autoencoder, crops: Tensor) -> dict[str, dict[str, float]]:
    each = [equivariance(model, image) for image in crops.split(1)]
    return {
        transform: {key: sum(one[transform][key] for one in each) / len(each) for key in values}
        for transform, values in each[0].items()
    }


def _draw(
    model: Autoencoder, crops: Tensor, found: dict[str, Any], folder: Path
) -> dict[str, list[str]]:
    """Pictures by what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = crops[:SHOWN]
    with torch.inference_mode():
        rebuilt = [model.reconstruct(image[None])[0].cpu() for image in shown]
        latents = [model.encode(image[None])[0].float().cpu() for image in shown]
    last = crops[1 if len(crops) > 1 else 0]
    counts = found["code_counts"]
    drawn = None if counts is None else torch.tensor(counts)
    pictures = {
        "original": list(shown),
        "reconstruction": rebuilt,
        "latents": latents_as_colours(latents, model.downsampling_factor),
        "interpolation": interpolations(model, crops[0], last),
        "chance": chance(model, CHANCE, min(crops.shape[-1], 128), drawn),
    }
    names = {what: list(_save(folder, what, images)) for what, images in pictures.items()}
    statistics, spectrum = found["statistics"], found["spectrum"]
    figures = {
        "spectrum": latent_plots.spectrum_figure(
            {model.title: (spectrum["frequencies"], spectrum["powers"])}
        ),
        "correlation": latent_plots.correlation_figure(found["correlation"]),
        "channels": latent_plots.channels_figure(
            found["scaled_mean"], found["scaled_std"], statistics["kl_nats"]
        ),
    }
    if counts is not None:
        figures["codebook"] = latent_plots.codebook_figure(counts)
    for what, figure in figures.items():
        latent_plots.save_figure(folder / f"{what}.png", figure)
        names[what] = [f"{what}.png"]
    return names


def _save(folder: Path, what: str, images: Sequence[Tensor]) -> Iterator[str]:
    for number, image in enumerate(images):
        pixels = np.asarray(to_uint8(image[None])[0].permute(1, 2, 0).cpu())
        name = f"{what}-{number}.png"
        with replacing(folder / name) as aside:
            Image.fromarray(pixels.squeeze()).save(aside, format="png")
        yield name
