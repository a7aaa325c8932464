"""The whole of an experiment: model, data, losses and training, as one config."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ldm_ae.config import TAGGED_BY_KIND
from ldm_ae.data.config import DataConfig
from ldm_ae.losses.objective import LossConfig
from ldm_ae.models.dvae import DVAEConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.vq import VQConfig
from ldm_ae.train.schedules import LearningRateSchedule


@dataclass(frozen=True)
class TrainConfig:
    """run_dir: where the run's config, checkpoints, logs and export go.

    steps: optimizer updates. batch_size: images per process and micro-batch; an update sees
        batch_size * accumulation * processes images.
    lr: peak learning rate, as used (LDM's `base_learning_rate` times batch, accumulation and
        processes). betas, weight_decay: AdamW's. clip_norm: greatest gradient norm; 0 is off.
    optimizer: `adamw`, or `muon`, which moves convolutions and linear layers by orthogonalised
        momentum at `muon_lr` and the rest by AdamW at `lr`; short runs learn much faster with it.
    precision: autocast's; the weights stay fp32.
    ema_decay: of the averaged weights, which are validated and exported.
    log_every, validate_every, checkpoint_every: in steps; the last step does all three.
    keep_checkpoints: how many of the newest stay.
    device: `auto` takes a GPU where there is one.
    """

    run_dir: str = "runs/default"
    steps: int = 100_000
    batch_size: int = 8
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
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema_decay: float = 0.999
    seed: int = 0
    log_every: int = 20
    validate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        at_least_one = ("steps", "batch_size", "accumulation", "log_every", "validate_every")
        for name in (*at_least_one, "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)}: use 1 or more")
        for name in ("clip_norm", "warmup_steps", "final_lr_factor", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name}={getattr(self, name)}: use 0 or more")
        if self.lr <= 0:
            raise ValueError(f"train.lr={self.lr}: use a positive learning rate")
        if self.muon_lr <= 0:
            raise ValueError(f"train.muon_lr={self.muon_lr}: use a positive learning rate")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay}: use a value in [0, 1)")


@dataclass(frozen=True)
class Experiment:
    """What a file under configs/ describes."""

    model: Annotated[KLConfig | VQConfig | PlainConfig | DVAEConfig, TAGGED_BY_KIND]
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        factor = self.model.coder.downsampling_factor
        if self.data.size % factor:
            raise ValueError(
                f"data.size={self.data.size} is not divisible by the model's downsampling factor"
                f" {factor}: use {self.data.size // factor * factor or factor}"
            )
        if self.data.channels != self.model.coder.image_channels:
            raise ValueError(
                f"data.channels={self.data.channels} but model.coder.image_channels="
                f"{self.model.coder.image_channels}: make them equal"
            )
        adversarial = self.loss.adversarial
        if adversarial.weight > 0 and self.data.size < adversarial.smallest_image:
            raise ValueError(
                f"data.size={self.data.size} is too small for a discriminator with"
                f" loss.adversarial.num_layers={adversarial.num_layers}: use"
                f" {adversarial.smallest_image} or more, or fewer layers"
            )
        predicts_scale = isinstance(self.model, DVAEConfig) and self.model.predict_scale
        if (self.loss.reconstruction == "logit_laplace") != predicts_scale:
            raise ValueError(
                "loss.reconstruction=logit_laplace and model.predict_scale=true (kind dvae) need"
                f" each other; got {self.loss.reconstruction} and predict_scale={predicts_scale}"
            )
