"""Which kernels a run computes with: what its config says, what it began with, or what is fast."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ldm_ae.distributed import from_first_rank
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.layout import has_triton
from ldm_ae.threads import using_threads
from ldm_ae.train.accelerator import uses_cpu
from ldm_ae.train.config import Experiment
from ldm_ae.train.settling import saved_setting

_SIDE = 64  # pixels, at most, of the images that are timed
_SECONDS = 1.0


def settle_kernels(experiment: Experiment, checkpoint: Path | None) -> tuple[Experiment, str]:
    """The experiment, its precision settled, with kernels that are not `auto`, the same on every
    rank, all of which must call it; and a line for the log, empty where the config decided.

    checkpoint: where the run goes on, if it does: `auto` then keeps what its config.yaml says;
    plain, if it says nothing. Raises UserError for fast kernels on a GPU without Triton.
    """
    asked, on_cpu = experiment.train.kernels, uses_cpu(experiment.train)
    if asked == "fast" and not on_cpu and not has_triton():
        raise UserError(
            "train.kernels=fast needs Triton on a GPU: pip install triton, or use"
            " train.kernels=plain"
        )
    if asked != "auto":
        return experiment, ""
    if not on_cpu:
        settled, note = "plain", ""
    elif checkpoint is not None:
        settled = saved_setting(checkpoint, "kernels") or "plain"
        note = f"{settled} kernels, as the run began"
    else:
        settled, note = from_first_rank(lambda: _measured(experiment))
    return replace(experiment, train=replace(experiment.train, kernels=settled)), note  # type: ignore[arg-type]


def _measured(experiment: Experiment) -> tuple[str, str]:
    ratio = fast_ratio(experiment)
    settled = "fast" if ratio < 1 else "plain"
    found = f"fast ones take {ratio:.2f} times as long as plain ones in this model here"
    return settled, f"{settled} kernels: {found}"


def use_kernels(model: Autoencoder, kernels: str) -> None:
    """Have the model compute with `plain` or `fast` kernels."""
    assert kernels != "auto", "train.kernels is to be settled first"
    fast = kernels == "fast"
    model.use_memory_format(torch.channels_last if fast else torch.contiguous_format)


def fast_ratio(experiment: Experiment) -> float:
    """Time with fast kernels over time with plain ones, of the autoencoder's forward and backward
    pass on small images in the run's precision, on one thread. Takes about two seconds."""
    factor, side = experiment.model.downsampling_factor, experiment.data.size
    while side > _SIDE and side % (2 * factor) == 0:
        side //= 2
    batch = min(experiment.train.batch_size, 8)
    with using_threads(1), torch.random.fork_rng(devices=[]):
        model = build_model(experiment.model)
        images = torch.rand(batch, model.image_channels, side, side)
        return _ratio(model, images, experiment.train.precision == "bf16")


def _ratio(model: Autoencoder, images: Tensor, bf16: bool) -> float:
    best = {"plain": float("inf"), "fast": float("inf")}
    for kernels in best:  # the first pass of each warms up
        use_kernels(model, kernels)
        _seconds(model, images[:1], bf16)
    started = time.process_time()
    while True:  # in turn: what slows the machine for a while slows both
        for kernels in best:
            use_kernels(model, kernels)
            best[kernels] = min(best[kernels], _seconds(model, images, bf16))
        if time.process_time() - started > _SECONDS:
            return best["fast"] / best["plain"]


def _seconds(model: Autoencoder, images: Tensor, bf16: bool) -> float:
    """Of the processor, not of the clock."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(images).images
    output.sum().backward()
    return time.process_time() - started
