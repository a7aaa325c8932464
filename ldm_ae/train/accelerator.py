"""The ranks of a run, and Accelerate as the config wants it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    ProjectConfiguration,
)

from ldm_ae.errors import UserError
from ldm_ae.models.kept_memory import keep_freed_memory
from ldm_ae.train.run_config import RunConfig
from ldm_ae.train.trackers import require_trackers

MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
SHARDED_LAUNCHES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def join_ranks(config: RunConfig) -> PartialState:
    """The processes of this run, brought together; their launcher decides how many there are.

    Raises UserError for a device that is not there, a launch that shards the weights, and copies
    that know nothing of each other.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device=cuda, but torch finds no CUDA device: use train.device=auto or cpu,"
            " or install a driver and a CUDA build of torch"
        )
    _refuse_sharding()
    ranks = PartialState(cpu=uses_cpu(config))
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked > 1 and ranks.num_processes == 1:
        raise UserError(
            f"WORLD_SIZE={asked}, but Accelerate runs a single process: every copy would train"
            " alone. On CPUs start with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node"
            f" {asked} scripts/..."
        )
    return ranks


def uses_cpu(config: RunConfig) -> bool:
    return config.device == "cpu" or not torch.cuda.is_available()


def _refuse_sharding() -> None:
    """Averaged weights, Muon, the adaptive weight and checkpoints need whole tensors."""
    for variable, name in SHARDED_LAUNCHES.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise UserError(
                f"{variable}=true: {name} cuts weights into shards, which this training does not"
                " support. Launch with plain data parallelism: accelerate launch --multi_gpu"
            )


def overruled_launch(config: RunConfig) -> list[str]:
    """A line for each setting that the launch, or `accelerate config`, has left in the environment
    and that differs from the config, which counts. What a launcher sets unasked is passed over."""
    counted = {
        "ACCELERATE_MIXED_PRECISION": (
            ("no", MIXED_PRECISION[config.precision]),
            f"train.precision={config.precision}",
        ),
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (
            ("1", str(config.accumulation)),
            f"train.accumulation={config.accumulation}",
        ),
    }
    lines = []
    for variable, (agreeing, setting) in counted.items():
        asked = os.environ.get(variable, "").lower()
        if asked and asked not in agreeing:
            lines.append(f"{variable}={asked} of the launch does not count: {setting} does")
    return lines


def make_accelerator(config: RunConfig, run_dir: Path) -> Accelerator:
    """Accelerate, told explicitly what the config says, its precision settled.

    Raises UserError as `join_ranks`, which it calls, for fp16 on a CPU, and for missing trackers.
    """
    join_ranks(config)
    if config.precision == "fp16" and uses_cpu(config):
        raise UserError(
            "train.precision=fp16 needs a GPU: on a CPU use train.precision=auto, bf16 or fp32"
        )
    require_trackers(config.trackers)
    if uses_cpu(config):
        keep_freed_memory()
    return Accelerator(
        mixed_precision=MIXED_PRECISION[config.precision],
        cpu=uses_cpu(config),
        log_with=list(config.trackers) or None,
        project_config=ProjectConfiguration(logging_dir=str(run_dir / "tensorboard")),
        # Accumulation is the step's own; Accelerate would divide the loss once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # Codebooks are equal on every rank by construction; batch norms keep their own.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
