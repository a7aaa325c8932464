"""Latent spaces compared by what a denoiser trained on them generates.

Every space gets the same pictures, denoiser, steps and seeds. All that takes time lies in a folder,
so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldm_ae import config
from ldm_ae.bench.efficientnet import NAME, load_efficientnet
from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import kind_of
from ldm_ae.data.randomness import epoch_order
from ldm_ae.diffusion.config import DiffusionConfig, load_diffusion
from ldm_ae.diffusion.loop import train_diffusion
from ldm_ae.diffusion.pipeline import num_classes, sample
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance
from ldm_ae.store.job import Job
from ldm_ae.store.parts import Part, claim
from ldm_ae.store.preparing import Batch, End, Preparation
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import ModelChoice
from ldm_ae.store.views import Views

CHUNK = 64  # pictures whose features lie in one file
PROTOCOL = {
    "network": NAME,
    "frechet": "between generated pictures, classes in turn, and photos of the training set, as"
    " many of each, all cropped and scaled to one size",
    "floor": "the same between those photos and others of the set: two sets that are alike",
}
Pixels = Tensor  # (B, 3, H, W) uint8


@dataclass(frozen=True)
class Comparison:
    """images: photos with labels. samples: of each set that is compared. work: the folder."""

    images: str
    size: int
    samples: int
    config: str
    overrides: tuple[str, ...]
    work: Path

    def job(self, model: Path) -> Job:
        kind = kind_of(self.images)
        data = DataConfig(kind=kind, path=self.images, streaming=kind in ("parquet", "tar"))
        return Job(data, ModelChoice(model), Views(size=self.size), batch_size=32)

    def experiment(self, name: str, model: Path) -> DiffusionConfig:
        place = self.work / name
        return load_diffusion(
            self.config,
            list(self.overrides),
            store=str(place / "store"),
            model=str(model),
            run_dir=str(place / "run"),
        )


def compare(
    comparison: Comparison, models: dict[str, Path], told: Callable[[str], object] = print
) -> dict[str, Any]:
    """The report. Raises UserError for photos of which some cannot be used, or that are too few."""
    claim(comparison.work, {"of": str({**vars(comparison), "work": None})})
    network = load_efficientnet()
    job = comparison.job(next(iter(models.values())))
    order = epoch_order(0, 0, len(job.open_source()))
    if len(order) < 2 * comparison.samples:
        raise UserError(f"{len(order)} photos: two sets of {comparison.samples} need more")
    halves = np.sort(order[: comparison.samples]), np.sort(order[-comparison.samples :])
    moments = [
        _moments(comparison, f"photos-{i}-of-{len(order)}", network, _photos(job, half))
        for i, half in enumerate(halves)
    ]
    floor, rows = frechet_distance(*moments), []
    for name, model in models.items():
        told(f"{name}: encode")
        place = comparison.work / name
        threads = torch.get_num_threads()
        outcome = encode_dataset(comparison.job(model), place / "store", threads=threads)
        _require_usable(outcome.left_out)
        experiment = comparison.experiment(name, model)
        told(f"{name}: train")
        pipeline = _open(train_diffusion(experiment, resume="auto"))
        told(f"{name}: sample")
        pictures = _generated(pipeline, comparison.samples, experiment)
        generated = _moments(comparison, name, network, pictures)
        rows.append(
            {
                "name": name,
                "channels": pipeline.vae.config.latent_channels,
                "frechet": frechet_distance(moments[0], generated),
                "floor": floor,
                "num_samples": comparison.samples,
                "denoiser_parameters": pipeline.transformer.num_parameters(),
            }
        )
    return {
        "protocol": PROTOCOL | {"num_photos": len(order), "size": comparison.size},
        "config": _settings(experiment),
        "rows": rows,
    }


def _settings(experiment: DiffusionConfig) -> dict[str, Any]:
    """What all spaces share."""
    found: dict[str, Any] = config.plain(experiment)
    del found["store"], found["model"], found["train"]["run_dir"]
    return found


def save_grids(comparison: Comparison, names: Sequence[str], path: Path) -> None:
    """The last samples of each space's run, one below the other."""
    grids = [_last_grid(comparison.work / name / "run") for name in names]
    gap = np.full((8, grids[0].shape[1], 3), 255, np.uint8)
    parts = [part for grid in grids for part in (grid, gap)][:-1]
    with replacing(path) as aside:
        Image.fromarray(np.concatenate(parts)).save(aside, format="png")


def _last_grid(run_dir: Path) -> np.ndarray:
    return np.asarray(Image.open(sorted((run_dir / "previews").glob("step-*.png"))[-1]))


def _open(folder: Path) -> Any:
    """The pipeline as a user has it."""
    from diffusers import DiTPipeline

    pipeline: Any = DiTPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


Chunk = Callable[[], Pixels]  # computes it when it is needed


def _moments(
    comparison: Comparison,
    name: str,
    features: Callable[[Tensor], Tensor],
    chunks: Iterator[Chunk],
) -> FeatureMoments:
    total: FeatureMoments | None = None
    for number, chunk in enumerate(chunks):
        path = comparison.work / "features" / f"{name}-{number:04d}.pt"
        if not path.is_file():
            with replacing(path) as aside:
                torch.save(features(chunk()).clone(), aside)
        own = FeatureMoments.of(torch.load(path, weights_only=True))
        total = own if total is None else total + own
    assert total is not None
    return total


def _photos(job: Job, rows: np.ndarray) -> Iterator[Chunk]:
    """The crops that are encoded. Raises UserError for photos that cannot be used."""
    source = job.open_source()
    preparation = Preparation(job, source, 3)

    def read(chunk: np.ndarray) -> Pixels:
        things = list(preparation.of(Part(0, tuple(chunk.tolist())), {}))
        entries = [p.entry for end in things if isinstance(end, End) for p in end.pictures]
        _require_usable({entry.key: entry.reason for entry in entries if entry.reason})
        batches = [thing.views for thing in things if isinstance(thing, Batch)]
        pixels = [view.pixels for views in batches for _, view in views]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)

    for start in range(0, len(rows), CHUNK):
        yield partial(read, rows[start : start + CHUNK])


def _require_usable(left_out: Mapping[str, str]) -> None:
    """left_out: name -> reason. Raises UserError if there are any."""
    if left_out:
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        raise UserError(f"{len(left_out)} photos cannot be used: remove them. {listed}")


def _generated(pipeline: Any, count: int, experiment: DiffusionConfig) -> Iterator[Chunk]:
    denoiser = pipeline.transformer  # in the precision of its training; the rest is fp32
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=experiment.train.precision == "bf16")
    denoiser.forward = bf16(denoiser.forward)

    def draw(first: int, size: int) -> Pixels:
        classes = [place % num_classes(pipeline) for place in range(first, first + size)]
        pixels = sample(pipeline, classes, experiment.sampling, seed=first)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    for start in range(0, count, CHUNK):
        yield partial(draw, start, min(CHUNK, count - start))
