"""What people train autoencoders with today: a plain loop in PyTorch around diffusers' class.

It has no averages, no schedule and one process; it stops and goes on by the clock, so that two
recipes can be given the same time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ldm_ae.data.loaders import TrainLoader
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.losses.adaptive_weight import adaptive_weight
from ldm_ae.losses.discriminator import PatchDiscriminator
from ldm_ae.losses.gan_losses import discriminator_loss, generator_loss
from ldm_ae.losses.perceptual import PerceptualLoss

SAVE_EVERY = 60.0  # seconds
_KL_WEIGHT = 1e-6  # of sums over an image, as LDM has it


@dataclass(frozen=True)
class Recipe:
    """pixel: the pixel error. perceptual_weight: of LPIPS beside the pixel error's mean.
    perceptual_trains: with a gradient; the example script of diffusers computes it without.
    adversarial_from: the share of the time after which the discriminator starts, None for never.
    """

    pixel: Literal["l1", "l2"]
    perceptual_weight: float
    perceptual_trains: bool
    lr: float
    betas: tuple[float, float]
    weight_decay: float = 0.0
    clip_norm: float | None = None
    adversarial_from: float | None = None
    adversarial_weight: float = 0.5


def ldm_recipe(lr: float) -> Recipe:
    """Latent diffusion's (Rombach et al. 2022, appendix G.1): L1, LPIPS, PatchGAN, Adam(.5, .9)."""
    return Recipe("l1", 1.0, True, lr, (0.5, 0.9), adversarial_from=1 / 3)


def script_recipe() -> Recipe:
    """The defaults of diffusers' `train_autoencoderkl.py`: its discriminator starts at step 50,001,
    and its LPIPS is computed without gradient."""
    return Recipe("l2", 0.5, False, 4.5e-6, (0.9, 0.999), weight_decay=1e-2, clip_norm=1.0)


def save_start(settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path) -> None:
    """A folder of an `AutoencoderKL` with these weights, to begin from."""
    model: Any = AutoencoderKL.from_config(dict(settings))
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)


class PlainTraining:
    """A recipe at work on the model in `start`, a folder of an `AutoencoderKL`.

    The folder `run_dir` gets `state.pt`, from which it goes on, and what `run` keeps. Raises
    UserError if another recipe was at work there.
    """

    def __init__(
        self, recipe: Recipe, start: Path, run_dir: Path, perceptual: PerceptualLoss, bf16: bool
    ) -> None:
        self.recipe, self.run_dir, self.bf16 = recipe, run_dir, bf16
        self.perceptual = perceptual
        self.model: Any = AutoencoderKL.from_pretrained(start).train()
        torch.manual_seed(0)
        self.discriminator = PatchDiscriminator(norm="batch")
        # Adam with decoupled decay; without decay it is Adam.
        self.optimizers = [
            torch.optim.AdamW(
                part.parameters(), recipe.lr, recipe.betas, weight_decay=recipe.weight_decay
            )
            for part in (self.model, self.discriminator)
        ]
        self.steps, self.seconds = 0, 0.0
        if self._state.exists():
            self._load()

    @property
    def _state(self) -> Path:
        return self.run_dir / "state.pt"

    def run(self, loader: TrainLoader, budget: float, keep_at: Sequence[float]) -> None:
        """Train until `budget` seconds of training have passed, those before a stop included. At
        each of `keep_at`, shares of the budget, the model is kept as `at-SHARE`."""
        batches = loader.batches(self.steps * loader.batch_size)
        saved = self.seconds
        while self.seconds < budget:
            started = time.perf_counter()
            self.step(next(batches).images, self.seconds / budget)
            self.steps += 1
            before, self.seconds = self.seconds, self.seconds + time.perf_counter() - started
            for share in keep_at:
                if before < share * budget <= self.seconds:
                    self.model.save_pretrained(self.run_dir / f"at-{share:g}")
            if self.seconds - saved > SAVE_EVERY or self.seconds >= budget:
                self._save()
                saved = self.seconds

    def step(self, images: Tensor, share: float) -> None:
        """One update of the model and, after its start, one of the discriminator, on the same
        images (B, 3, H, W) in [-1, 1]."""
        start = self.recipe.adversarial_from
        adversarial = start is not None and share >= start
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            posterior = self.model.encode(images).latent_dist
            output = self.model.decode(posterior.sample()).sample
        output = output.float()
        error = (output - images).abs() if self.recipe.pixel == "l1" else (output - images) ** 2
        loss = error.mean() + self.recipe.perceptual_weight * self._perceptual(output, images)
        total = loss + _KL_WEIGHT * posterior.kl().mean() / images[0].numel()
        if adversarial:
            self.discriminator.requires_grad_(False)
            fooled = generator_loss("hinge", self._logits(output))
            last = self.model.decoder.conv_out.weight
            weight = adaptive_weight(loss, fooled, last, images[0].numel())
            total = total + self.recipe.adversarial_weight * weight * fooled
        self._update(0, total, self.model)
        if adversarial:
            self.discriminator.requires_grad_(True)
            logits = self._logits(images), self._logits(output.detach())
            self._update(1, discriminator_loss("hinge", *logits), self.discriminator)

    def _perceptual(self, output: Tensor, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.recipe.perceptual_trains):
            return self.perceptual(output, images).mean()

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.discriminator(images)
        return logits.float()

    def _update(self, index: int, loss: Tensor, module: nn.Module) -> None:
        loss.backward()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.recipe.clip_norm)
        self.optimizers[index].step()
        self.optimizers[index].zero_grad()

    def _save(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        content = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": torch.get_rng_state(),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        with replacing(self._state) as aside:
            torch.save(content, aside)

    def _load(self) -> None:
        content = torch.load(self._state, weights_only=True)
        if content["recipe"] != asdict(self.recipe):
            raise UserError(f"{self.run_dir} was trained by another recipe: remove it")
        self.model.load_state_dict(content["model"])
        self.discriminator.load_state_dict(content["discriminator"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        torch.set_rng_state(content["random"])
        self.steps, self.seconds = content["steps"], content["seconds"]
