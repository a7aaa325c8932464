"""Distil LPIPS-squeeze into the small network that ships with the package.

    python scripts/distill_perceptual.py --images PHOTOS [MORE.parquet ...] \
        --weights squeezenet1_1_features.safetensors --out runs/distill --steps 5000

Starts from random weights; continues a run whose checkpoint lies in --out with --resume.
Writes embedded_perceptual.safetensors (fp16) and its card, embedded_perceptual.json, into --out.
"""

import argparse
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distillation.adversary import descend, student_distance
from distillation.agreement import CROP_SIZE, agreement
from distillation.autoencoders import RECIPES, AutoencoderPool, soften
from distillation.distortions import FAMILIES, distort
from distillation.images import load_photos, random_crops
from distillation.objective import (
    Adapters,
    DistillWeights,
    Teacher,
    agreement_loss,
    student_embeddings,
)
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ldm_ae.bench.command import one_line_errors
from ldm_ae.bench.report import hardware, write_json
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.losses.backbones import load_backbone
from ldm_ae.losses.embedded import CARD_NAME, WEIGHTS_NAME, EmbeddedConfig, EmbeddedPerceptual
from ldm_ae.losses.perceptual import LPIPSNetwork


@dataclass(frozen=True)
class DistillConfig:
    """Two stages of as many steps, each with a learning rate that falls to 0.

    Wide: each photo with one reconstruction and two other distortions. Adversarial: with two
    reconstructions, one of them moved down the network's own slope, and one distortion.
    """

    steps_per_stage: int = 2500
    seed: int = 0
    learning_rate: float = 1e-3
    references_per_step: int = 6
    crop_size: int = 96
    autoencoder_max_steps: int = 400  # twice as many in the second stage
    checkpoint_every: int = 250

    @property
    def steps(self) -> int:
        return 2 * self.steps_per_stage


class Distillation:
    """Everything that a checkpoint holds, and a step."""

    def __init__(self, config: DistillConfig, teacher: Teacher) -> None:
        torch.manual_seed(config.seed)
        self.config, self.teacher, self.weights = config, teacher, DistillWeights()
        self.student = EmbeddedPerceptual().to(memory_format=torch.channels_last)
        self.adapters = Adapters(self.student, teacher)
        self.pool = AutoencoderPool(config.autoencoder_max_steps, config.seed)
        self.parameters = [*self.student.parameters(), *self.adapters.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self.steps_done, self.seconds = 0, 0.0

    def step(self, references: Tensor, distorted: Tensor) -> dict[str, float]:
        count = len(references)
        is_adversarial = self.steps_done >= self.config.steps_per_stage
        self.pool.max_steps = self.config.autoencoder_max_steps * (2 if is_adversarial else 1)
        output, member = self.pool.reconstruct(references, self.steps_done)
        reconstruction = soften(references, output.detach().clamp(-1, 1), self.steps_done)
        images = [references, reconstruction, distorted]
        if is_adversarial:
            images = [references, reconstruction, distorted[:count]]
            images += self._adversarial_images(references, reconstruction)
        terms = self._agreement(torch.cat(images), count)
        self._update(torch.stack(list(terms.values())).sum())
        self._train_autoencoder(member, references, output)
        self.steps_done += 1
        return {name: value.item() for name, value in terms.items()}

    def _adversarial_images(self, references: Tensor, reconstruction: Tensor) -> list[Tensor]:
        """The reconstruction moved down the slope, and one by another member of the pool."""
        moved = descend(self.student, reconstruction, references, self.steps_done)
        with torch.no_grad():
            other = self.pool.members[(self.steps_done + 3) % len(RECIPES)].model(references)
        return [moved, soften(references, other.clamp(-1, 1), self.steps_done + 1)]

    def _agreement(self, images: Tensor, count: int) -> dict[str, Tensor]:
        student_z = student_embeddings(self.student, images)
        teacher_z = self.teacher.embeddings(images)
        return agreement_loss(student_z, teacher_z, self.adapters, count, self.weights)

    def _update(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise UserError(
                f"loss is {loss.item()} at step {self.steps_done}: lower the learning rate"
            )
        step = self.steps_done % self.config.steps_per_stage
        progress = step / self.config.steps_per_stage
        warmup = min(1.0, (step + 1) / 100)
        rate = self.config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for weights in self.student.level_weights():
                weights.clamp_(min=0)

    def _train_autoencoder(self, member: int, references: Tensor, output: Tensor) -> None:
        distance = output.new_zeros(())
        if RECIPES[member].perceptual_weight > 0:
            distance = student_distance(self.student, output, references)
        self.pool.train_step(member, references, output, distance)

    def save(self, path: Path) -> None:
        state = {
            "config": asdict(self.config),
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "student": self.student.state_dict(),
            "adapters": self.adapters.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pool": self.pool.state_dict(),
        }
        with replacing(path) as aside:
            torch.save(state, aside)

    def load(self, path: Path) -> None:
        """Raises UserError if there is no checkpoint or it was made with other settings."""
        if not path.exists():
            raise UserError(f"--resume: there is no {path}")
        state = torch.load(path, weights_only=True)
        if state["config"] != asdict(self.config):
            raise UserError(f"--resume: {path} was made with other settings: {state['config']}")
        self.steps_done, self.seconds = state["steps_done"], state["seconds"]
        self.student.load_state_dict(state["student"])
        self.adapters.load_state_dict(state["adapters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pool.load_state_dict(state["pool"])


def make_batch(photos: list[np.ndarray], config: DistillConfig, step: int) -> tuple[Tensor, Tensor]:
    """References (R, 3, S, S) and two distortions of each (2R, 3, S, S), by seed and step."""
    rng = np.random.default_rng([config.seed, step])
    references = random_crops(photos, config.references_per_step, config.crop_size, rng)
    return references, torch.cat([distort(references, rng), distort(references, rng)])


def train(run: Distillation, photos: list[np.ndarray], out: Path, stop_at: int) -> None:
    config, started = run.config, time.monotonic() - run.seconds
    recent: dict[str, float] = {}  # running means, for the bar
    bar = tqdm(total=config.steps, initial=run.steps_done, unit="step", mininterval=5)
    with ThreadPoolExecutor(1) as ahead:  # one batch is prepared while another is trained on
        pending = ahead.submit(make_batch, photos, config, run.steps_done)
        while run.steps_done < stop_at:
            references, distorted = pending.result()
            pending = ahead.submit(make_batch, photos, config, run.steps_done + 1)
            for name, value in run.step(references, distorted).items():
                recent[name] = 0.98 * recent.get(name, value) + 0.02 * value
            run.seconds = time.monotonic() - started
            bar.update()
            bar.set_postfix({name: f"{value:.3f}" for name, value in recent.items()})
            if run.steps_done % config.checkpoint_every == 0 or run.steps_done == stop_at:
                run.save(out / "checkpoint.pt")
    bar.close()


def make_card(run: Distillation, num_photos: int, held_out: list[np.ndarray]) -> dict[str, Any]:
    card: dict[str, Any] = {
        "network": asdict(EmbeddedConfig()),
        "num_parameters": sum(p.numel() for p in run.student.parameters()),
        "teacher": "LPIPS-squeeze v0.1",
        "trained_from": "random weights",
        "num_photos": num_photos,
        "distortions": [*FAMILIES, "reconstructions by half-trained autoencoders"],
        "settings": asdict(run.config) | asdict(run.weights),
        "minutes": round(run.seconds / 60, 1),
        "hardware": hardware(),
    }
    if held_out:
        card["agreement_on_validation_photos"] = agreement(
            run.student, run.teacher.network, run.pool, held_out
        )
    return card


def export(student: EmbeddedPerceptual, out: Path, card: dict[str, Any]) -> None:
    state = {name: t.detach().half().contiguous() for name, t in student.state_dict().items()}
    with replacing(out / WEIGHTS_NAME) as aside:
        save_file(state, aside)
    write_json(out / CARD_NAME, card)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", nargs="+", required=True, help="folders, files, parquet")
    parser.add_argument("--weights", help="torchvision's squeezenet1_1 `features.*`")
    parser.add_argument("--validation", nargs="+", help="photos to measure the agreement on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2 * DistillConfig.steps_per_stage)
    parser.add_argument("--seed", type=int, default=DistillConfig.seed)
    parser.add_argument("--stop-at", type=int, help="pause at this step, with a checkpoint")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.steps < 2 or arguments.steps % 2:
        raise UserError(f"--steps {arguments.steps}: must be even, half for each stage")
    config = DistillConfig(steps_per_stage=arguments.steps // 2, seed=arguments.seed)
    photos = load_photos(arguments.images, config.crop_size)
    held_out = load_photos(arguments.validation, CROP_SIZE) if arguments.validation else []
    teacher = Teacher(LPIPSNetwork("squeeze", load_backbone("squeeze", arguments.weights)))
    run = Distillation(config, teacher)
    if arguments.resume:
        run.load(arguments.out / "checkpoint.pt")
    train(run, photos, arguments.out, min(arguments.stop_at or config.steps, config.steps))
    if run.steps_done == config.steps:
        export(run.student, arguments.out, make_card(run, len(photos), held_out))
        print(f"written to {arguments.out}: {WEIGHTS_NAME}, {CARD_NAME}")


if __name__ == "__main__":
    with one_line_errors():
        main()
