"""Does the adversarial term's start wreck the reconstructions? A trained autoencoder is trained on
three ways: without a discriminator, with our start (the discriminator warms up alone, then its
factor rises), and with the abrupt start of LDM. All see the same images in the same order.

python benchmarks/gan_start.py --run runs/kl_f8_small --out benchmarks/results/gan_start.json \
    [--seeds 3] [--precisions fp32 bf16] [key=value ...]

Without --run, a new model of --config is trained for --settle-steps first. The curves are those
of the weights themselves: averaged ones would hide a jump. Overrides go on top of the run's
config. Learning rates are a constant tenth of its peak, as late in a training; a new model has
the whole for two thirds of its settling.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.torch import load_file

from ldm_ae import config
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.files import replacing
from ldm_ae.metrics.panel import Panel
from ldm_ae.metrics.table import OF_NETWORK
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.checkpoint_folders import find_checkpoint
from ldm_ae.train.config import Experiment
from ldm_ae.train.state import TrainState
from ldm_ae.train.steps import train_step
from ldm_ae.train.validation import open_validation_panel, validate

GENTLE = "our start"
STARTS = {
    "no discriminator": {"weight": 0.0},
    GENTLE: {},
    "abrupt start": {"discriminator_warmup_steps": 0, "ramp_steps": 0, "lr_warmup_steps": 0},
}
COLOURS = dict(zip(STARTS, ("tab:grey", "tab:green", "tab:red"), strict=True))
COLUMNS = {
    "start": "s",
    "precision": "s",
    "seed": "d",
    "psnr_before": ".2f",
    "psnr_lowest": ".2f",
    "psnr_end": ".2f",
    "distance_before": ".4f",
    "distance_worst": ".4f",
    "distance_end": ".4f",
    "distance_rise": ".1%",
}
Point = dict[str, float]


def main() -> None:
    arguments = parse_arguments()
    experiment = make_experiment(arguments)
    rows, curves = [], []
    for precision in arguments.precisions:
        for seed in range(arguments.seeds):
            train = replace(experiment.train, seed=seed, precision=precision)
            for name in STARTS:
                curve = play(with_start(replace(experiment, train=train), name), arguments)
                row = {"start": name, "precision": precision, "seed": seed}
                rows.append(row | summary(curve, experiment))
                curves.append(row | {"curve": curve})
                print(f"{name}, {precision}, seed {seed}: done", flush=True)
    print(format_table(rows, COLUMNS))
    game = experiment.loss.adversarial
    protocol = {
        "from": str(arguments.run or f"{arguments.config}, new weights"),
        "model": "the weights themselves, mode of the latents, rounded to uint8",
        "images": f"{experiment.data.validation_count} validation crops of {experiment.data.size}",
        "discriminator_enters_at": game.start_step,
        "generator_sees_it_from": game.start_step + game.discriminator_warmup_steps,
        "full_weight_from": game.start_step + game.discriminator_warmup_steps + game.ramp_steps,
        "config": config.plain(experiment),
    }
    write_json(arguments.out, {"protocol": protocol, "rows": rows, "curves": curves} | provenance())
    save_curves(arguments.out.with_suffix(".png"), curves, protocol)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a training run's folder: its latest checkpoint")
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the curves go beside it")
    parser.add_argument("--settle-steps", type=int, help="before the discriminator (20; 240)")
    parser.add_argument("--warmup-steps", type=int, default=50, help="the discriminator's, alone")
    parser.add_argument("--ramp-steps", type=int, default=100)
    parser.add_argument("--after-steps", type=int, default=50, help="at full weight")
    parser.add_argument("--every", type=int, default=10, help="steps between measurements")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["bf16"], choices=["fp32", "bf16"])
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    arguments = parser.parse_args()
    if arguments.settle_steps is None:
        arguments.settle_steps = 20 if arguments.run else 240
    return arguments


def make_experiment(arguments: argparse.Namespace) -> Experiment:
    """The run's (or the config's) experiment with a discriminator that enters late."""
    source = arguments.run / "config.yaml" if arguments.run else arguments.config
    settle = arguments.settle_steps
    steps = settle + arguments.warmup_steps + arguments.ramp_steps + arguments.after_steps
    return config.load(
        Experiment,
        source,
        [
            "loss.adversarial.weight=0.5",
            f"loss.adversarial.start_step={settle}",
            f"loss.adversarial.discriminator_warmup_steps={arguments.warmup_steps}",
            f"loss.adversarial.ramp_steps={arguments.ramp_steps}",
            f"train.steps={steps}",
            "train.lr_schedule=constant",
            "train.warmup_steps=10",
            *arguments.overrides,
        ],
    )


def with_start(experiment: Experiment, name: str) -> Experiment:
    """The abrupt start comes when ours is first seen by the generator, so that the curves can be
    compared step by step."""
    game = experiment.loss.adversarial
    if name == "abrupt start":
        game = replace(game, start_step=game.start_step + game.discriminator_warmup_steps)
    game = replace(game, **STARTS[name])
    return replace(experiment, loss=replace(experiment.loss, adversarial=game))


def play(experiment: Experiment, arguments: argparse.Namespace) -> list[Point]:
    """Train on; returns what was measured: step, psnr, the perceptual distance."""
    settings = experiment.train
    AcceleratorState._reset_state(reset_partial_state=True)  # a precision of its own
    accelerator = make_accelerator(settings, arguments.out.parent)
    state = build_state(experiment, accelerator)
    if arguments.run:
        checkpoint = find_checkpoint(arguments.run, "latest")
        state.autoencoder.load_state_dict(load_file(checkpoint / "model.safetensors"))
    late = replace(settings, lr=0.1 * settings.lr, muon_lr=0.1 * settings.muon_lr)
    early = 0 if arguments.run else arguments.settle_steps * 2 // 3
    data = open_data(experiment.data)
    images = [image for _, image in validation_images(data)]
    panel = open_validation_panel(experiment, accelerator.device, state.perceptual)
    distance = OF_NETWORK[experiment.loss.perceptual.net]
    batches = TrainLoader(
        data, settings.batch_size, settings.seed, device=accelerator.device
    ).batches()
    curve = []
    for step in range(settings.steps + 1):
        if step % arguments.every == 0 or step == settings.steps:
            curve.append({"step": step} | measure(state, images, panel, distance))
        if step < settings.steps:
            state.config = settings if step < early else late
            train_step(state, [next(batches) for _ in range(settings.accumulation)], step)
    return curve


def measure(state: TrainState, images: list[torch.Tensor], panel: Panel, distance: str) -> Point:
    model = state.autoencoder.eval()
    scores, _ = validate(model, images, panel)
    model.train()
    return {"psnr": scores["psnr"], "distance": scores[distance]}


def summary(curve: list[Point], experiment: Experiment) -> dict[str, Any]:
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


def save_curves(path: Path, curves: list[dict[str, Any]], protocol: dict[str, Any]) -> None:
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


if __name__ == "__main__":
    main()
