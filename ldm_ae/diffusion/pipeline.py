"""Denoiser and autoencoder as diffusers' DiTPipeline: in memory, as a folder, as a grid of samples.

An unlabelled store is one class, 0, to the same pipeline: that of latent diffusion without classes,
LDMPipeline, is deprecated by diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from ldm_ae.convert.diffusers_class import as_diffusers, save
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.diffusion.config import SamplingConfig
from ldm_ae.diffusion.denoiser import TIMESTEPS
from ldm_ae.models.base import Autoencoder
from ldm_ae.train.checkpoint_folders import placing

_MAX_COLUMNS = 10


def make_pipeline(denoiser: Any, autoencoder: Autoencoder, names: Sequence[str]) -> Any:
    """A DiTPipeline of these networks, which stay where they are. names: of the classes."""
    from diffusers import DiTPipeline, DPMSolverMultistepScheduler

    vae = as_diffusers(autoencoder, LatentScaling(autoencoder.scaling_factor))
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True
    )
    id2label = {str(number): name for number, name in enumerate(names)}
    pipeline: Any = DiTPipeline(denoiser, vae.to(denoiser.device), scheduler, id2label=id2label)
    pipeline.register_to_config(id2label=id2label)  # which its __init__ leaves out
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """What `DiTPipeline.from_pretrained` opens alone; whole or not at all."""
    with placing(folder) as aside:
        pipeline.save_pretrained(aside, safe_serialization=True)
        save(pipeline.vae, aside / "vae")  # without the keys that some classes warn of


def num_classes(pipeline: Any) -> int:
    """Of a DiTPipeline, which takes each part of a name with commas for a label of that class."""
    return 1 + max(pipeline.labels.values())


def sample_grid(pipeline: Any, sampling: SamplingConfig, seed: int) -> NDArray[np.uint8]:
    """(H, W, 3): a column for each class, or for ten of many; the same noise at each call. Grey is
    shown as grey; alpha is left out."""
    count = num_classes(pipeline)
    columns = min(count, _MAX_COLUMNS) if count > 1 else _MAX_COLUMNS
    classes = [column * count // columns for column in range(columns)]
    images = sample(pipeline, classes * sampling.rows, sampling, seed)
    grid = rearrange(images[..., :3], "(r c) h w k -> (r h) (c w) k", c=columns)
    return np.broadcast_to(grid, (*grid.shape[:2], 3))


def sample(
    pipeline: Any, classes: Sequence[int], sampling: SamplingConfig, seed: int
) -> NDArray[np.uint8]:
    """(B, H, W, C), one of each class; each from a generator of its own, seed + its place. A single
    class has nothing to be guided away from."""
    generators = [torch.Generator().manual_seed(seed + place) for place in range(len(classes))]
    images = pipeline(
        class_labels=list(classes),
        guidance_scale=sampling.guidance if num_classes(pipeline) > 1 else 1.0,
        num_inference_steps=sampling.num_steps,
        generator=generators,
        output_type="np",
    ).images
    return (images * 255).round().astype(np.uint8)
