"""TensorBoard and Weights & Biases, through Accelerate's interface to trackers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from ldm_ae.errors import UserError

PROJECT = "ldm_ae"
# Of TensorBoard's custom scalars: all channels in one, where each would have a chart of its own.
CHARTS = {name: ["Multiline", [f"validation/latent_{name}/\\d+"]] for name in ("mean", "std", "kl")}


def require_trackers(names: Sequence[str]) -> None:
    """Raise UserError for a tracker that is not installed: Accelerate would leave it out."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"train.trackers has {name}, which is not installed: pip install {name}, or leave"
                " it out"
            )


def start_trackers(accelerator: Accelerator, run_dir: Path, start: int, resolved: str) -> None:
    """Open the trackers of the config for a run that goes on after `start` steps.

    TensorBoard hides what an abandoned stretch logged beyond `start`. Weights & Biases cannot go
    back, so each launch is a run of its own there, in the group of the run's folder.
    resolved: the whole config as YAML.
    """
    settings = {
        "tensorboard": {"purge_step": start + 1},
        "wandb": {
            "dir": str(run_dir),
            "group": run_dir.name,
            "name": f"{run_dir.name} from step {start}",
            "notes": resolved,
        },
    }
    accelerator.init_trackers(PROJECT, init_kwargs=settings)
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_text("config", f"```yaml\n{resolved}```", start)
            tracker.writer.add_custom_scalars({"latents, by channel": CHARTS})


def track_picture(
    accelerator: Accelerator, name: str, picture: NDArray[np.uint8], step: int
) -> None:
    """picture: (H, W, 3)."""
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.log_images({name: picture[None]}, step=step, dataformats="NHWC")
        else:
            tracker.log_images({name: [picture]}, step=step)
