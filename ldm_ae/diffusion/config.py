"""What a file such as ldm_ae/configs/diffusion_small.yaml describes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldm_ae import config
from ldm_ae.config import Depth, Width
from ldm_ae.errors import UserError
from ldm_ae.train.run_config import RunConfig


@dataclass(frozen=True)
class DenoiserConfig:
    """num_layers, num_heads, head_dim: of diffusers' DiTTransformer2DModel; its width is num_heads
        * head_dim (Peebles and Xie 2023, table 1).
    patch_size: side of the square of latents that is one token.
    """

    num_layers: Depth = 8
    num_heads: Width = 4
    head_dim: Width = 64
    patch_size: Width = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"denoiser.{name}={value}: use 1 or more")
        width = self.num_heads * self.head_dim
        if width % 4:  # a sine and a cosine of each of two coordinates
            raise UserError(
                f"denoiser.num_heads={self.num_heads}, head_dim={self.head_dim}: the width, their"
                f" product {width}, must be a multiple of 4"
            )


@dataclass(frozen=True)
class SamplingConfig:
    """num_steps: of the solver, DPM-Solver++ of second order.
    guidance: how far the empty class is left behind (Ho and Salimans 2022); 1 is off.
    rows: of the grid of samples, which has a column for each class, up to ten of them.
    """

    num_steps: int = 25
    guidance: float = 2.0
    rows: int = 4

    def __post_init__(self) -> None:
        if self.num_steps < 2 or self.rows < 1 or self.guidance < 1:
            raise UserError(
                f"sampling: num_steps={self.num_steps}, rows={self.rows},"
                f" guidance={self.guidance}: use at least 2, 1 and 1"
            )


@dataclass(frozen=True)
class DiffusionTrainConfig(RunConfig):
    """sample_every: steps between grids of samples; the last step draws one, too.
    label_dropout: share of latents that are learned without their class, which guidance needs.
    num_workers: processes that read latents ahead; 0 reads between updates.
    precision: autocast's; the weights stay fp32. `auto` is bf16 on a GPU that has it, else fp32.
    """

    sample_every: int = 1_000
    label_dropout: float = 0.1
    num_workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1, "sample_every")
        self.require(0, "num_workers")
        if not 0 <= self.label_dropout < 1:
            raise UserError(f"train.label_dropout={self.label_dropout}: use a value in [0, 1)")


@dataclass(frozen=True)
class DiffusionConfig:
    """store: the folder that `encode-dataset` wrote. model: the autoencoder that it was written
        with, a folder or a name as kl16. subfolder, variant: as of `ldm_ae.load`.
    labels: names of the store's classes, in their order; null takes its labels themselves, and an
        empty list learns all as one class.
    """

    store: str
    model: str
    subfolder: str | None = None
    variant: str | None = None
    labels: tuple[str, ...] | None = None
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    train: DiffusionTrainConfig = field(default_factory=DiffusionTrainConfig)

    def __post_init__(self) -> None:
        if self.sampling.guidance > 1 and self.train.label_dropout == 0:
            raise UserError(
                f"sampling.guidance={self.sampling.guidance} with train.label_dropout=0: the empty"
                " class, which guidance leads away from, would not be learned; use"
                " sampling.guidance=1, or a label_dropout above 0"
            )


def load_diffusion(
    path: str | Path,
    overrides: list[str],
    *,
    store: str,
    model: str,
    run_dir: str,
    subfolder: str | None = None,
    variant: str | None = None,
) -> DiffusionConfig:
    """A config from YAML and overrides such as `train.lr=1e-4`, for a store, a model (its
    `subfolder` and `variant` as of `ldm_ae.load`) and a run's folder. Raises UserError for every
    mistake in it, and for an override of these."""
    source = {"store": store, "model": model, "subfolder": subfolder, "variant": variant}
    for override in overrides:
        if override.partition("=")[0] in (*source, "train.run_dir"):
            raise UserError(
                f"{override}: say it by the arguments: STORE --model {model} --out {run_dir}"
            )
    content: dict[str, Any] = config.apply_overrides(config.read_yaml(path), overrides)
    train = content.get("train", {})
    if isinstance(train, dict):  # else `build` says what it must be
        content["train"] = train | {"run_dir": run_dir}
    return config.build(DiffusionConfig, content | source, f"config {path}")
