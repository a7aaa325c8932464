"""Recipes side by side: the same network, initial weights, crops and time, judged by the panel."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ldm_ae import config
from ldm_ae.bench.plain_training import PlainTraining, Recipe, save_start
from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.errors import UserError
from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual
from ldm_ae.metrics.table import METRICS
from ldm_ae.train.config import Experiment
from ldm_ae.train.export_run import export_run
from ldm_ae.train.initial import initial_model
from ldm_ae.train.precision import settle_precision

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the budget, at which a training is judged
_TRIAL_STEPS, _TRIAL_EVERY = 60, 20


@dataclass(frozen=True)
class Contest:
    """config: a KL model's, and overrides of it for all. weights: folder of backbones, or None.
    runs: where trainings are kept. budget: seconds of training each."""

    config: str
    overrides: tuple[str, ...]
    weights: str | None
    runs: Path
    budget: float

    def experiment(self, seed: int) -> Experiment:
        asked = [*self.overrides, f"train.seed={seed}"]
        if self.weights is not None:
            asked.append(f"loss.perceptual.weights={self.weights}")
        return config.load(Experiment, self.config, asked)

    def start(self, seed: int) -> Path:
        """A diffusers folder with the seed's initial weights, the same for every recipe."""
        folder = self.runs / f"start-{seed}"
        if not (folder / "config.json").is_file():
            experiment = self.experiment(seed)
            torch.manual_seed(seed)
            settings = to_diffusers_config(experiment.model, LatentScaling(), experiment.data.size)
            save_start(settings, to_diffusers_state(initial_model(experiment)), folder)
        return folder


def train_plainly(
    contest: Contest, recipe: Recipe, name: str, seed: int, net: str, bf16: bool
) -> list[dict[str, Any]]:
    """A recipe in the plain loop: a row for each of SHARES with the `folder` to judge.

    net: the perceptual network's. bf16: under autocast, where that is faster on this machine.
    """
    experiment = contest.experiment(seed)
    run_dir = contest.runs / f"{name}-{seed}"
    settled, _ = settle_precision(experiment, None)
    perceptual = build_perceptual(PerceptualConfig(net=net, weights=contest.weights))  # type: ignore[arg-type]
    bf16 = bf16 and settled.train.precision == "bf16"
    training = PlainTraining(recipe, contest.start(seed), run_dir, perceptual, bf16)
    batch_size = experiment.train.batch_size
    if training.seconds < contest.budget:
        loader = TrainLoader(open_data(experiment.data), batch_size, seed)
        training.run(loader, contest.budget, SHARES)
    speed = training.steps * batch_size / training.seconds
    return [
        {
            "recipe": name,
            "seed": seed,
            "seconds": share * contest.budget,
            "images": round(share * training.steps) * batch_size,
            "images_per_second": speed,
            "folder": run_dir / f"at-{share:g}",
        }
        for share in SHARES
    ]


def train_ours(contest: Contest, name: str, seed: int) -> list[dict[str, Any]]:
    """Our trainer with the config as it is, for as many steps as a trial says fit the budget."""
    per_step = _seconds_per_step(contest, f"{name}-{seed}-trial", seed, _TRIAL_STEPS, _TRIAL_EVERY)
    every = max(round(contest.budget / per_step / len(SHARES)), 1)
    steps = len(SHARES) * every
    taken = _seconds_per_step(contest, f"{name}-{seed}", seed, steps, every)
    run_dir = contest.runs / f"{name}-{seed}"
    batch_size = contest.experiment(seed).train.batch_size
    rows = []
    for number in range(1, len(SHARES) + 1):
        step = number * every
        folder = run_dir / f"at-{SHARES[number - 1]:g}"
        if not folder.is_dir():
            export_run(run_dir, folder, checkpoint=f"step-{step:08d}", max_images=64)
        rows.append(
            {
                "recipe": name,
                "seed": seed,
                "seconds": step * taken,
                "images": step * batch_size,
                "images_per_second": batch_size / taken,
                "folder": folder,
            }
        )
    return rows


def _seconds_per_step(contest: Contest, name: str, seed: int, steps: int, every: int) -> float:
    """Train as a user does; the time from the first checkpoint to the last, over the steps between
    them, checkpoints included. A training that is there is taken."""
    run_dir = contest.runs / name
    command = [sys.executable, "-m", "ldm_ae", "train", "--config", contest.config]
    command += ["--resume", "auto", *contest.overrides]
    command += [f"model={{kind: kl, init_from: {contest.start(seed)}}}", f"train.seed={seed}"]
    command += [f"train.run_dir={run_dir}", f"train.steps={steps}"]
    command += [f"train.checkpoint_every={every}", f"train.validate_every={steps}"]
    command += ["train.keep_checkpoints=100"]
    if contest.weights is not None:
        command.append(f"loss.perceptual.weights={contest.weights}")
    if not (run_dir / "export").is_dir() and subprocess.run(command).returncode:
        raise UserError(f"{shlex.join(command)} failed")
    ends = [path.stat().st_mtime for path in sorted((run_dir / "checkpoints").glob("step-*"))]
    return (ends[-1] - ends[0]) / (every * (len(ends) - 1))


def summary(rows: Sequence[Mapping[str, Any]], against: str) -> list[dict[str, Any]]:
    """For each recipe the mean over seeds of its last rows, and each metric's change in per cent
    against another recipe's mean."""
    final: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        group = final.setdefault(row["recipe"], [])
        group[:] = [other for other in group if other["seed"] != row["seed"]] + [row]
    names = [name for name in METRICS if all(row.get(name) is not None for row in rows)]
    names.append("images_per_second")
    means = {
        recipe: {name: sum(row[name] for row in group) / len(group) for name in names}
        for recipe, group in final.items()
    }
    base = means.get(against)
    found = []
    for recipe, mean in means.items():
        change = {f"{name}_change": 100 * (mean[name] / base[name] - 1) for name in names if base}
        found.append({"recipe": recipe, "num_seeds": len(final[recipe])} | mean | change)
    return found
