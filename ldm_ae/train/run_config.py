"""What every training has in its config, whatever it trains."""

from dataclasses import dataclass
from typing import Literal

from ldm_ae.config import Width
from ldm_ae.errors import UserError

LearningRateSchedule = Literal["constant", "cosine"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class RunConfig:
    """run_dir: where the run's config, checkpoints, logs and export go.

    steps: optimizer updates. batch_size: images per process and micro-batch. accumulation: of
        micro-batches; an update sees batch_size * accumulation * processes images.
    lr: peak learning rate, as used (LDM's `base_learning_rate` times batch, accumulation and
        processes). muon_lr: the same for what Muon moves. lr_schedule: after `warmup_steps`,
        `constant`, or `cosine` down to `final_lr_factor` times the peak at the last step.
        warmup_steps: of a linear rise from 0. final_lr_factor: 0 ends at nothing.
    betas, weight_decay: AdamW's. clip_norm: greatest gradient norm; 0 is off.
    optimizer: `adamw`, or `muon`, which moves convolutions and linear layers by orthogonalised
        momentum at `muon_lr` and the rest by AdamW at `lr`; short runs learn much faster with it.
    precision: autocast's; the weights stay fp32. `auto` is bf16 on a GPU that has it; on a CPU,
        where bf16 may be emulated, whichever of bf16 and fp32 is faster in about a second of the
        model's convolutions. A resumed run keeps what it began with.
    seed: of the weights, the order of the images, their crops and all noise.
    ema_decay: of the averaged weights, which are validated and exported.
    log_every, checkpoint_every: in steps; the last step does both.
    keep_checkpoints: how many of the newest stay.
    trackers: `tensorboard` (files under run_dir), `wandb` (its own package; WANDB_MODE=offline
        keeps everything under run_dir), both or none.
    new_data: let a resumed run take more, fewer or other images than it began with, or another
        seed. It goes on at its position in their order, and no longer ends like one undisturbed.
    device: `auto` takes a GPU where there is one.
    """

    run_dir: str = "runs/default"
    steps: int = 100_000
    batch_size: Width = 8
    accumulation: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-4
    muon_lr: float = 0.02
    lr_schedule: LearningRateSchedule = "constant"
    warmup_steps: int = 500
    final_lr_factor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    precision: Precision = "auto"
    ema_decay: float = 0.999
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    new_data: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        self.require(1, "steps", "batch_size", "accumulation", "log_every", "checkpoint_every")
        self.require(1, "keep_checkpoints")
        self.require(0, "clip_norm", "warmup_steps", "final_lr_factor", "weight_decay", "seed")
        for name in ("lr", "muon_lr"):
            if getattr(self, name) <= 0:
                raise UserError(f"train.{name}={getattr(self, name)}: use a positive learning rate")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas={list(self.betas)}: use values in [0, 1)")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"train.ema_decay={self.ema_decay}: use a value in [0, 1)")

    def require(self, least: int, *names: str) -> None:
        """Raise UserError for a value below `least`."""
        for name in names:
            if getattr(self, name) < least:
                raise UserError(f"train.{name}={getattr(self, name)}: use {least} or more")
