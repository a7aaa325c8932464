"""Writes a model as a diffusers folder, after checking that diffusers computes the same."""

from __future__ import annotations

import copy
import itertools
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldm_ae.codec.fitting.calibrate import Samples, fit
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.codec.priors.base import Prior
from ldm_ae.codec.priors.file import EARLIER_PRIORS, PRIOR_FILE, save_prior
from ldm_ae.convert.agreement import check, compare, probes
from ldm_ae.convert.diffusers_class import as_diffusers, save
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.places import STEM
from ldm_ae.digests import DIGESTS, write_digests
from ldm_ae.errors import UserError
from ldm_ae.export.card import few_images, model_card
from ldm_ae.export.statistics import LatentStatistics, measure_latents
from ldm_ae.export.training_config import TRAINING_CONFIG
from ldm_ae.export.uncertainty import ENOUGH_IMAGES
from ldm_ae.files import aside_of, clear_stale
from ldm_ae.models.base import Autoencoder

STATISTICS = "latent_statistics.json"
FILES = (
    "config.json",
    f"{STEM}.safetensors",
    STATISTICS,
    PRIOR_FILE,
    TRAINING_CONFIG,
    "README.md",
    DIGESTS,
)
WRITING, REPLACED = ".writing", ".replaced"  # the ends of `aside_of` names

_CHECKED_IMAGES, _CHECKED_SIDE = 2, 256

_log = logging.getLogger(__name__)


def export(
    model: Autoencoder,
    out_dir: str | Path,
    *,
    batches: Iterable[Tensor],
    sample_size: int,
    resolved_config: str,
    card: Mapping[str, Mapping[str, Any]],
    per_channel: bool = False,
    shift: bool = False,
    num_different: int | None = None,
    scaling: LatentScaling | None = None,
    prior: Kind = "factorised",
    overwrite: bool = False,
) -> Path:
    """Measure the latents, compare with diffusers, fit the codec's prior, write the folder;
    returns its path.

    batches: training images (B, C, H, W) in [-1, 1], H and W multiples of f; all of them are
        measured, and some of the first batch compared, beside random ones, in fp32 on the CPU.
    sample_size: the side of the training images. The export's is at least 256, and a multiple of
        4f, since diffusers cuts its tiles by it with an overlap of a quarter.
    resolved_config: YAML of the whole experiment. card: tables of the model card, by heading.
    per_channel: also write `latents_mean` and `latents_std` (AutoencoderKL only). The latter are
        relative to the overall std: SDXL's (z - mean) / latents_std * scaling_factor then comes to
        unit variance in every channel, while pipelines that read the scalar alone stay right.
    shift: also write the mean of all latents as `shift_factor`, which SD3's and FLUX's pipelines
        subtract, and others ignore; 0 otherwise.
    num_different: as in `measure_latents`. Below 1,000 a warning says so.
    scaling: written as it is, where the latents are those of an earlier model; None measures it.
    prior: the kind of entropy model that the codec gets; `context` makes files smaller and takes
        some twenty seconds to fit.
    overwrite: replace an earlier export.

    The folder appears whole or not at all. Raises UserError if `out_dir` is in use, for a model
    whose weights `ldm_ae.load` has rounded, if diffusers' output differs by more than 1e-4 of the
    largest value, and as `measure_latents`.
    """
    out_dir = Path(out_dir)
    require_free(out_dir, overwrite)
    _require_exact(model)
    _require_one_scaling(scaling, per_channel or shift)
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise UserError("no training image came: there are no latents to measure")
    unit = LatentScaling(scaling_factor=1.0)
    plain = copy.deepcopy(model).to("cpu", torch.float32).eval()
    images = [probes(plain), _middle(plain, first)]
    agreement = compare(plain, as_diffusers(plain, unit, sample_size), images)
    check(agreement)

    samples = Samples()
    crops = itertools.chain([first], stream)
    statistics = measure_latents(model, crops, samples.add, num_different)
    written = scaling or _scaling(statistics, per_channel, shift)
    warning = ""
    if scaling is None and statistics.num_different < ENOUGH_IMAGES:
        warning = few_images(statistics)
        _log.warning("%s", warning)
    exported = as_diffusers(plain, written, sample_size)
    tables = {
        **card,
        "Latents": _latent_table(statistics, written, kept=scaling is not None),
        "Difference from diffusers": asdict(agreement),
    }
    if agreement.num_ties:
        _log.info("%d of %d tokens were ties", agreement.num_ties, agreement.num_tokens)
    name = type(exported).__name__
    files = {
        STATISTICS: statistics.to_json(),
        TRAINING_CONFIG: resolved_config,
        "README.md": model_card(name, model, statistics, tables, written, warning),
    }
    _write(out_dir, exported, files, fit(model, samples, prior))
    return out_dir


def _require_exact(model: Autoencoder) -> None:
    if model.precision != "fp32":
        raise UserError(
            f"an export holds fp32 weights, and this model is {model.precision}: open it by"
            " ldm_ae.load without precision=fast and dtype"
        )


def _require_one_scaling(kept: LatentScaling | None, asked: bool) -> None:
    if kept is not None and asked:
        raise UserError(
            "per-channel statistics or a shift would replace the scaling that this model keeps from"
            " the one it started with: leave them out"
        )


def require_free(out_dir: Path, overwrite: bool) -> None:
    """Raise UserError unless `out_dir` is missing, empty, or an earlier export to overwrite."""
    if not out_dir.exists():
        return
    if not out_dir.is_dir():
        raise UserError(f"{out_dir} is a file: name a folder for the export")
    present = {path.name for path in out_dir.iterdir() if not path.match(EARLIER_PRIORS)}
    if not present:
        return
    if not (present <= set(FILES) and STATISTICS in present):
        raise UserError(f"{out_dir} is not empty: name another folder for the export")
    if not overwrite:
        raise UserError(f"{out_dir} already holds an export: remove it or name another folder")


def _middle(model: Autoencoder, images: Tensor) -> Tensor:
    """Of some real images, no larger than it takes to compare."""
    factor = model.downsampling_factor
    height, width = (min(size, _CHECKED_SIDE) // factor * factor for size in images.shape[2:])
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    real = images[:_CHECKED_IMAGES, :, top : top + height, left : left + width]
    return real.to("cpu", torch.float32)


def _scaling(statistics: LatentStatistics, per_channel: bool, shift: bool) -> LatentScaling:
    scalars = LatentScaling(statistics.scaling_factor, statistics.mean if shift else 0.0)
    if not per_channel:
        return scalars
    return replace(
        scalars,
        latents_mean=tuple(statistics.channel_mean),
        latents_std=tuple(std * statistics.scaling_factor for std in statistics.channel_std),
    )


def _latent_table(
    statistics: LatentStatistics, scaling: LatentScaling, kept: bool
) -> dict[str, Any]:
    table: dict[str, Any] = {
        "scaling_factor": scaling.scaling_factor,
        "shift_factor": scaling.shift_factor,
        "mean": statistics.mean,
        "std": statistics.std,
        "channels in use": f"{statistics.active_channels} of {len(statistics.channel_std)}",
        "crops measured": statistics.num_images,
        "of so many images": statistics.num_different,
        "of": statistics.protocol,
    }
    if statistics.uncertainty is not None and not kept:
        low, high = statistics.uncertainty.scaling_factor
        table["scaling_factor, 95 % interval"] = f"{low:.5g} to {high:.5g}"
        table["mean, 95 % interval"] = f"± {statistics.uncertainty.mean:.2g}"
    if statistics.codebook is not None:
        table["codes in use"] = f"{statistics.codebook.share:.1%}"
        table["codebook perplexity"] = statistics.codebook.perplexity
    return table


def _write(out_dir: Path, exported: Any, files: Mapping[str, str], prior: Prior) -> None:
    clear_stale(out_dir.parent)
    aside, old = aside_of(out_dir, WRITING), aside_of(out_dir, REPLACED)
    try:
        aside.mkdir(parents=True)
        save(exported, aside)
        for name, text in files.items():
            (aside / name).write_text(text, encoding="utf-8")
        save_prior(prior, aside)
        for path in aside.iterdir():  # safetensors writes for its user alone
            shutil.copymode(aside / STATISTICS, path)
        write_digests(aside)
        if out_dir.exists():
            out_dir.rename(old)
        aside.rename(out_dir)
    finally:
        if old.exists() and not out_dir.exists():
            old.rename(out_dir)
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
