"""train(experiment): the whole of a training run, top to bottom."""

from __future__ import annotations

from pathlib import Path

import torch

from ldm_ae.config import dump
from ldm_ae.convert.run import export_run
from ldm_ae.data.images import to_float
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.validation import validation_images
from ldm_ae.train.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint
from ldm_ae.train.config import Experiment
from ldm_ae.train.logging import RunLog, forget_validations_after
from ldm_ae.train.setup import (
    build_perceptual_metric,
    build_players,
    make_accelerator,
    set_learning_rate,
    starting_point,
)
from ldm_ae.train.steps import train_step
from ldm_ae.train.validation import validate


def train(experiment: Experiment, resume: str | None = None) -> Path:
    """Train, validate, checkpoint and export; returns the export's folder.

    resume: `latest`, a checkpoint's name or its path; None starts anew.
    Raises ValueError for anything wrong with the config, the data or the surroundings, before
    the first file is written; FloatingPointError when the gradient is not finite.
    """
    config = experiment.train
    run_dir = Path(config.run_dir)
    checkpoint = starting_point(run_dir, resume)
    accelerator = make_accelerator(config, run_dir)
    progress = read_progress(checkpoint) if checkpoint else Progress()

    torch.manual_seed(config.seed)
    loader = TrainLoader(
        experiment.data,
        config.batch_size,
        config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        device=accelerator.device,
    )
    held_out = validation_images(experiment.data)
    perceptual = build_perceptual_metric(experiment, accelerator.device)
    players, average = build_players(experiment, accelerator, perceptual)
    if checkpoint:
        progress = load_checkpoint(checkpoint, players, average)

    if accelerator.is_main_process:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(dump(experiment), encoding="utf-8")
        forget_validations_after(run_dir, progress.step)
    accelerator.init_trackers("tensorboard")
    log = RunLog(accelerator, run_dir, config.steps, progress.step)
    images = [to_float(image[None]).to(accelerator.device) for _, image in held_out]
    batches = loader.batches(progress.images_seen)

    for step in range(progress.step, config.steps):
        micro_batches = [next(batches) for _ in range(config.accumulation)]
        learning_rate = set_learning_rate(players, config, step)
        players.trainee.autoencoder.set_step(step)
        terms = train_step(players, micro_batches, step, config.seed, config.clip_norm)
        average.update(players.trainee.autoencoder, step)

        seen = config.batch_size * config.accumulation * accelerator.num_processes
        progress = Progress(step + 1, progress.images_seen + seen)
        log.advance(seen, [line for batch in micro_batches for line in batch.skipped])
        last = progress.step == config.steps
        if last or progress.step % config.log_every == 0:
            log.terms(progress.step, terms, learning_rate)
        if images and (last or progress.step % config.validate_every == 0):
            if accelerator.is_main_process:
                log.validation(progress.step, *validate(average.model, images, perceptual))
            accelerator.wait_for_everyone()
        if last or progress.step % config.checkpoint_every == 0:
            if accelerator.is_main_process:
                save_checkpoint(run_dir, players, average, progress, config.keep_checkpoints)
            accelerator.wait_for_everyone()
    log.close()
    export_dir = run_dir / "export"
    # The process group is gone by now: the others need not wait for a long export.
    if accelerator.is_main_process:
        export_run(run_dir, export_dir, checkpoint=f"step-{progress.step:08d}", overwrite=True)
    return export_dir
