"""From a training run's folder to an export."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ldm_ae import config
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.data.images import to_float
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import Data, open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.digests import verify
from ldm_ae.errors import UserError
from ldm_ae.export.export import export, require_free
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import evaluate, mean_scores, open_panel
from ldm_ae.metrics.table import METRICS
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.train.checkpoint import read_progress
from ldm_ae.train.checkpoint_folders import find_checkpoint
from ldm_ae.train.config import Experiment
from ldm_ae.weights_file import read_weights

# Crops that are measured: the whole training set if it lies between these, more crops of each
# image if it is smaller, a random subset of its images if it is larger.
MIN_CROPS, MAX_CROPS = 512, 10_000


def export_run(
    run_dir: str | Path,
    out_dir: str | Path,
    *,
    checkpoint: str = "latest",
    weights: Literal["ema", "model"] = "ema",
    per_channel: bool = False,
    shift: bool = False,
    max_images: int | None = None,
    overrides: Sequence[str] = (),
    prior: Kind = "factorised",
    overwrite: bool = False,
    data: Data | None = None,
) -> Path:
    """Export a run's checkpoint with statistics over its training images, training crops included,
    and scores on its validation images; returns the export's folder.

    checkpoint: `latest`, `best` (by the run's train.best_metric), or a checkpoint's name.
    max_images: at most so many training crops (10,000 if None). overrides: `data.key=value`, where
    the images are elsewhere now. prior, shift: as in `export`. data: the run's images, where they
    are open already. Raises UserError for whatever is missing, and as `export`.
    """
    run_dir, out_dir = Path(run_dir), Path(out_dir)
    require_free(out_dir, overwrite)
    foreign = [item for item in overrides if not item.startswith("data.")]
    if foreign:
        raise UserError(f"{foreign[0]!r}: an export can only override data.key=value")
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} has no config.yaml: give the folder of a training run")
    experiment = config.load(Experiment, run_dir / "config.yaml", list(overrides))
    folder = find_checkpoint(run_dir, checkpoint, experiment.best_metric, key="checkpoint")
    verify(folder, [f"{weights}.safetensors", "state.json"])
    model = _open(folder / f"{weights}.safetensors", experiment)
    on_gpu = experiment.train.device != "cpu" and torch.cuda.is_available()
    model = model.to("cuda" if on_gpu else "cpu")
    data = data or open_data(experiment.data)
    card = {
        "Training": {
            "checkpoint": folder.name,
            "weights": "averaged (EMA)" if weights == "ema" else "last",
            **asdict(read_progress(folder)),
            "data": _data_name(experiment),
            "crop": f"{experiment.data.size} px",
            **_origin(experiment),
        },
        "Validation": validation_scores(model, experiment, data),
    }
    return export(
        model,
        out_dir,
        batches=training_crops(experiment, data, max_images),
        sample_size=experiment.data.size,
        resolved_config=config.dump(experiment),
        card=card,
        per_channel=per_channel,
        shift=shift,
        num_different=different_images(data, max_images),
        scaling=experiment.scaling,
        prior=prior,
        overwrite=overwrite,
    )


def training_crops(
    experiment: Experiment, data: Data, max_images: int | None = None
) -> Iterator[Tensor]:
    """Batches (B, C, size, size) of training crops: every image once, in random order, or as often
    as `MIN_CROPS` takes, up to `max_images` crops."""
    loader = TrainLoader(data, experiment.train.batch_size, experiment.train.seed)
    return _limited(loader, min(max(loader.num_images, MIN_CROPS), _most(max_images)))


def different_images(data: Data, max_images: int | None = None) -> int:
    """From how many images `training_crops` takes its crops."""
    return min(len(data.training), _most(max_images))


def _most(max_images: int | None) -> int:
    if max_images is not None and max_images < 1:
        raise UserError(f"max_images={max_images}: measure at least 1 image")
    return max_images or MAX_CROPS


def _limited(loader: TrainLoader, limit: int) -> Iterator[Tensor]:
    batches = loader.batches()
    for start in itertools.count(0, loader.batch_size):
        if start >= limit:
            return
        yield next(batches).images[: limit - start]


def validation_scores(model: Autoencoder, experiment: Experiment, data: Data) -> dict[str, Any]:
    """Mean scores of the mode's reconstruction on the validation images, rounded to uint8."""
    held_out = validation_images(data)
    if not held_out:
        return {"images": 0}
    device = next(model.parameters()).device
    net, weights = experiment.loss.perceptual.net, experiment.loss.perceptual.weights
    panel = open_panel(networks=Networks(device, {net: weights} if weights else None))
    images = (to_float(image[None]).to(device) for _, image in held_out)
    means = mean_scores(evaluate(model.reconstruct, images, panel))
    scores: dict[str, Any] = {
        "of": "the mode's reconstruction, rounded to uint8; means over images",
        "images": len(held_out),
        "view": f"{experiment.data.size} px, {experiment.data.validation_crop}",
    }
    for name, value in means.values.items():
        why = f"not measured: {means.reasons.get(name)}"
        scores[METRICS[name].label] = why if value is None else value
    return scores


def _open(path: Path, experiment: Experiment) -> Autoencoder:
    if not path.is_file():
        raise UserError(f"{path} does not exist: the checkpoint is not complete")
    with torch.device("meta"):
        model = build_model(experiment.model)
    weights = read_weights(path)
    try:
        model.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit the run's config.yaml: {error}") from error
    return model.eval()


def _origin(experiment: Experiment) -> dict[str, str]:
    model = experiment.model
    if model.init_from is None:
        return {}
    if isinstance(model, TinyConfig):
        return {"imitates": Path(model.init_from).name}
    trained = "the decoder alone" if experiment.train.freeze_encoder else "all weights"
    return {"started from": Path(model.init_from).name, "trained": trained}


def _data_name(experiment: Experiment) -> str:
    data = experiment.data
    if data.kind == "embedded":
        return "the photos bundled with scikit-image"
    if data.kind == "hub":
        return f"hub: {data.name}"
    places = (data.places,) if isinstance(data.places, str) else data.places
    return f"{data.kind}: {', '.join(Path(place).name for place in places)}"
