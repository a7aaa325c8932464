"""Does the adversarial term's start wreck the reconstructions?

An autoencoder is trained on three ways: without a discriminator, with our start (the discriminator
warms up alone, then its factor rises), and with the abrupt start of LDM. All see the same images
in the same order. The curves are those of the weights themselves: averaged ones would hide a jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.torch import load_file

from ldm_ae import config
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.files import replacing
from ldm_ae.metrics.panel import Panel
from ldm_ae.metrics.table import OF_NETWORK
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.config import Experiment
from ldm_ae.train.state import TrainState
from ldm_ae.train.steps import train_step
from ldm_ae.train.validation import open_validation_panel, validate

GENTLE, ABRUPT = "our start", "abrupt start"
STARTS: dict[str, dict[str, Any]] = {
    "no discriminator": {"weight": 0.0},
    GENTLE: {},
    ABRUPT: {"discriminator_warmup_steps": 0, "ramp_steps": 0, "lr_warmup_steps": 0},
}
COLOURS = dict(zip(STARTS, ("tab:grey", "tab:green", "tab:red"), strict=True))
Point = dict[str, float]


def make_experiment(
    source: str | Path,
    overrides: Sequence[str],
    *,
    settle_steps: int,
    warmup_steps: int,
    ramp_steps: int,
    after_steps: int,
) -> Experiment:
    """The experiment of a config, with a discriminator that enters after `settle_steps`, warms up
    alone, rises to its full weight and stays there for `after_steps`."""
    late = [
        "loss.adversarial.weight=0.5",
        f"loss.adversarial.start_step={settle_steps}",
        f"loss.adversarial.discriminator_warmup_steps={warmup_steps}",
        f"loss.adversarial.ramp_steps={ramp_steps}",
        f"train.steps={settle_steps + warmup_steps + ramp_steps + after_steps}",
        "train.lr_schedule=constant",
        "train.warmup_steps=10",
    ]
    return config.load(Experiment, source, [*late, *overrides])


def with_start(experiment: Experiment, name: str) -> Experiment:
    """The abrupt start comes when ours is first seen by the generator, so that the curves can be
    compared step by step."""
    game = experiment.loss.adversarial
    if name == ABRUPT:
        game = replace(game, start_step=game.start_step + game.discriminator_warmup_steps)
    game = replace(game, **STARTS[name])
    return replace(experiment, loss=replace(experiment.loss, adversarial=game))


def play(
    experiment: Experiment,
    run_dir: Path,
    checkpoint: Path | None = None,
    *,
    early_steps: int = 0,
    every: int = 10,
) -> list[Point]:
    """Train; returns what was measured each `every` steps: step, psnr, the perceptual distance.

    checkpoint: where its weights come from; None is a new model. Learning rates are a tenth of the
    config's, as late in a training, after `early_steps`.
    """
    settings = experiment.train
    accelerator = make_accelerator(settings, run_dir)
    state = build_state(experiment, accelerator)
    if checkpoint is not None:
        state.autoencoder.load_state_dict(load_file(checkpoint / "model.safetensors"))
    late = replace(settings, lr=0.1 * settings.lr, muon_lr=0.1 * settings.muon_lr)
    data = open_data(experiment.data)
    images = [image for _, image in validation_images(data)]
    panel = open_validation_panel(experiment, accelerator.device, state.perceptual)
    distance = OF_NETWORK[experiment.loss.perceptual.net]
    loader = TrainLoader(data, settings.batch_size, settings.seed, device=accelerator.device)
    batches = loader.batches()
    curve = []
    for step in range(settings.steps + 1):
        if step % every == 0 or step == settings.steps:
            curve.append({"step": step} | measure(state, images, panel, distance))
        if step < settings.steps:
            state.config = settings if step < early_steps else late
            train_step(state, [next(batches) for _ in range(settings.accumulation)], step)
    type(accelerator.state)._reset_state(reset_partial_state=True)  # the next has its own precision
    return curve


def measure(state: TrainState, images: list[torch.Tensor], panel: Panel, distance: str) -> Point:
    model = state.autoencoder.eval()
    scores, _ = validate(model, images, panel)
    model.train()
    return {"psnr": scores["psnr"], "distance": scores[distance]}


def summary(curve: Sequence[Point], experiment: Experiment) -> dict[str, Any]:
    """Before the generator sees the discriminator, the worst since, and the end."""
    game = experiment.loss.adversarial
    seen = game.start_step + game.discriminator_warmup_steps
    before = [point for point in curve if point["step"] <= seen][-1]
    after = [point for point in curve if point["step"] > seen]
    worst = max(point["distance"] for point in after)
    return {
        "psnr_before": before["psnr"],
        "psnr_lowest": min(point["psnr"] for point in after),
        "psnr_end": curve[-1]["psnr"],
        "distance_before": before["distance"],
        "distance_worst": worst,
        "distance_end": curve[-1]["distance"],
        "distance_rise": worst / before["distance"] - 1,
        "finite": all(math.isfinite(value) for point in curve for value in point.values()),
    }


def save_curves(
    path: Path, curves: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]
) -> None:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (key, label) in enumerate(
        {"distance": "perceptual distance", "psnr": "PSNR, dB"}.items()
    ):
        axes = figure.add_subplot(1, 2, index + 1)
        for line in curves:
            points = [(point["step"], point[key]) for point in line["curve"]]
            style = "-" if line["precision"] == "fp32" else "--"
            first = line["seed"] == 0
            text = f"{line['start']}, {line['precision']}" if first else None
            colour = COLOURS[line["start"]]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=text, alpha=0.8)
        for mark in ("discriminator_enters_at", "generator_sees_it_from", "full_weight_from"):
            axes.axvline(protocol[mark], color="black", linewidth=0.5, linestyle=":")
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
