"""train(experiment): the whole of a training run, top to bottom."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ldm_ae.config import dump
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.train.accelerator import make_accelerator, overruled_launch
from ldm_ae.train.build import build_state
from ldm_ae.train.checkpoint import load_checkpoint
from ldm_ae.train.config import Experiment
from ldm_ae.train.export_run import export_run
from ldm_ae.train.initial import about_latents
from ldm_ae.train.keeper import Keeper
from ldm_ae.train.kernels import settle_kernels
from ldm_ae.train.logging import RunLog, forget_validations_after
from ldm_ae.train.precision import settle_precision
from ldm_ae.train.run_lock import sole_run
from ldm_ae.train.start import begin
from ldm_ae.train.steps import train_step
from ldm_ae.train.trackers import start_trackers
from ldm_ae.train.updates import is_due, run_updates
from ldm_ae.train.validation import open_held_out, validate


def train(experiment: Experiment, resume: str | None = None) -> Path:
    """Train, validate, checkpoint and export; returns the export's folder.

    resume: `latest`, `auto` (the latest if there is one), a checkpoint's name or its path; None
    starts anew. A run that was complete is only exported again.
    Raises UserError for anything wrong with the config, the data or the surroundings, another
    run in the folder included, before the first file is written; FloatingPointError when a loss or
    gradient is not finite; TrainingStopped after SIGTERM or SIGINT, with everything saved; OSError
    that names the folder and the last checkpoint when the disk is full.
    """
    with sole_run(experiment.train):
        return _train(experiment, resume)


def _train(experiment: Experiment, resume: str | None) -> Path:
    run_dir = Path(experiment.train.run_dir)
    start = begin(run_dir, resume, experiment.best_metric)
    checkpoint, progress, notes = start.checkpoint, start.progress, start.notes
    if progress.step > experiment.train.steps:
        raise UserError(
            f"train.steps={experiment.train.steps}: {run_dir} is at step {progress.step} already:"
            " ask for as many or more, or take another train.run_dir"
        )
    data = open_data(experiment.data)
    experiment, about_precision = settle_precision(experiment, checkpoint)
    experiment, about_kernels = settle_kernels(experiment, checkpoint)
    config = experiment.train
    accelerator = make_accelerator(config, run_dir)

    loader = TrainLoader(
        data,
        config.batch_size,
        config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        device=accelerator.device,
    )
    notes += progress.settle_order(loader.num_images, config.seed, config.new_data)
    state = build_state(experiment, accelerator)
    if checkpoint:
        progress = load_checkpoint(checkpoint, state)
    held_out = open_held_out(experiment, data, loader, state.perceptual)

    resolved = dump(experiment)
    if accelerator.is_main_process:
        with replacing(run_dir / "config.yaml") as aside:
            aside.write_text(resolved, encoding="utf-8")
        forget_validations_after(run_dir, progress.step)
    start_trackers(accelerator, run_dir, progress.step, resolved)
    log = RunLog(accelerator, run_dir, config.steps, progress.step)
    about_start = None if checkpoint else about_latents(experiment)
    found = (about_precision, about_kernels, about_start, *overruled_launch(config))
    notes += filter(None, found)
    if held_out.frechet is not None:
        notes.append(held_out.frechet.describe())
    for note in notes:
        log.message(note)
    keeper = Keeper(run_dir, state, experiment.best_metric)

    def judge(step: int) -> dict[str, Any] | None:
        if not (held_out.num_images and is_due(step, config.validate_every, config.steps)):
            return None
        model = state.average.model
        scores, grid = validate(model, held_out.images, held_out.panel, held_out.frechet)
        log.validation(step, scores, grid)
        return scores

    update = partial(train_step, state)
    with closing(log.bar):  # what an error says begins a line of its own
        progress = run_updates(state, loader, progress, log, keeper, update, judge)

    export_dir = run_dir / "export"
    # The process group is gone by now: the others need not wait for a long export.
    if accelerator.is_main_process:
        newest = f"step-{progress.step:08d}"
        export_run(run_dir, export_dir, checkpoint=newest, overwrite=True, data=data)
    return export_dir
