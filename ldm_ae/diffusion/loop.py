"""train_diffusion(config): the whole of a denoiser's training, top to bottom."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ldm_ae.config import dump
from ldm_ae.diffusion.config import DiffusionConfig
from ldm_ae.diffusion.latents import LatentLoader, open_latents
from ldm_ae.diffusion.pipeline import make_pipeline, sample_grid, save_pipeline
from ldm_ae.diffusion.steps import build_state, train_step
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.json_file import read_json
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.settings import ModelChoice
from ldm_ae.train.accelerator import make_accelerator, overruled_launch
from ldm_ae.train.checkpoint import load_checkpoint
from ldm_ae.train.keeper import Keeper
from ldm_ae.train.logging import RunLog
from ldm_ae.train.precision import precision_of_gpu
from ldm_ae.train.run_lock import sole_run
from ldm_ae.train.settling import saved_setting
from ldm_ae.train.start import begin
from ldm_ae.train.trackers import start_trackers
from ldm_ae.train.updates import is_due, run_updates

FACTS = "store.json"  # of a run: what it was trained on


def train_diffusion(experiment: DiffusionConfig, resume: str | None = None) -> Path:
    """Train a denoiser on a store's latents; returns the folder of the pipeline that samples.

    resume: as in `ldm_ae.train.loop.train`. Raises UserError for anything wrong with the config,
    the store, the model or the surroundings, before the first file is written; FloatingPointError,
    TrainingStopped and OSError as `train`.
    """
    with sole_run(experiment.train):
        return _train(experiment, resume)


def _train(experiment: DiffusionConfig, resume: str | None) -> Path:
    run_dir = Path(experiment.train.run_dir)
    start = begin(run_dir, resume)
    checkpoint, progress, notes = start.checkpoint, start.progress, start.notes
    choice = ModelChoice(experiment.model, experiment.subfolder, experiment.variant)
    encoder = LatentEncoder(choice)
    latents = open_latents(LatentStore(experiment.store), encoder.facts, experiment.labels)
    facts = {
        "model": encoder.facts["sha256"],
        "scaling_factor": latents.scaling_factor,
        "labels": list(latents.names),
    }
    if checkpoint:
        _require_same(run_dir, facts)
    experiment = _settle_precision(experiment, checkpoint)
    config = experiment.train
    accelerator = make_accelerator(config, run_dir)
    loader = LatentLoader(
        latents,
        config.batch_size,
        config.seed,
        num_workers=config.num_workers,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        device=accelerator.device,
    )
    notes += progress.settle_order(loader.num_images, config.seed, config.new_data)
    state = build_state(experiment, latents.shape, accelerator)
    if checkpoint:
        progress = load_checkpoint(checkpoint, state)
    pipeline = make_pipeline(state.average.model, encoder.model, latents.names)

    resolved = dump(experiment)
    if accelerator.is_main_process:
        for name, text in (("config.yaml", resolved), (FACTS, json.dumps(facts, indent=2))):
            with replacing(run_dir / name) as aside:
                aside.write_text(text, encoding="utf-8")
    start_trackers(accelerator, run_dir, progress.step, resolved)
    log = RunLog(accelerator, run_dir, config.steps, progress.step)
    for note in (*notes, *overruled_launch(config)):
        log.message(note)

    def draw(step: int) -> dict[str, Any] | None:
        """Samples where they are due; there are no scores to choose a checkpoint by."""
        if accelerator.is_main_process and is_due(step, config.sample_every, config.steps):
            log.picture("samples", step, sample_grid(pipeline, experiment.sampling, config.seed))
        return None

    keeper, update = Keeper(run_dir, state, None), partial(train_step, state)
    with closing(log.bar):
        run_updates(state, loader, progress, log, keeper, update, draw)
    if accelerator.is_main_process:
        save_pipeline(pipeline, run_dir / "pipeline")
    return run_dir / "pipeline"


def _require_same(run_dir: Path, facts: dict[str, Any]) -> None:
    """Raise UserError if a run was trained on another model's latents, or on latents of another
    scaling, or on other classes."""
    path = run_dir / FACTS
    known = read_json(path) if path.is_file() else facts
    for name, value in facts.items():
        if known.get(name, value) != value:
            raise UserError(
                f"{run_dir} was trained with {name} {known[name]}, and now it is {value}: take the"
                " store and the model that it began with, or start anew with another --out"
            )


def _settle_precision(experiment: DiffusionConfig, checkpoint: Path | None) -> DiffusionConfig:
    """`auto` is what the run began with; else bf16 on a GPU that has it, fp32 elsewhere."""
    asked = experiment.train.precision
    if asked == "auto":
        on_gpu = torch.cuda.is_available() and experiment.train.device != "cpu"
        new = precision_of_gpu() if on_gpu else "fp32"
        asked = saved_setting(checkpoint, "precision") or new  # type: ignore[assignment]
    return replace(experiment, train=replace(experiment.train, precision=asked))
