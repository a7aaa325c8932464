"""Large images in little memory: in our strips, whole, and in diffusers' tiles.

Each measurement has a process of its own, one thread, and a peak of memory that begins anew with
its first call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ldm_ae import config, zoo
from ldm_ae.bench.peak_memory import resident
from ldm_ae.bench.photos import list_photos
from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.convert.load import load
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.data.images import to_float
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.train.config import Experiment

Way = Literal["whole", "strips", "diffusers", "diffusers tiled"]
WAYS: tuple[Way, ...] = ("whole", "strips", "diffusers", "diffusers tiled")
_SAMPLE_SIZE = 256  # pixels, that diffusers' tiles have by default in the models of the package


@dataclass(frozen=True)
class Subject:
    """model: of the package, a folder, or a config, whose weights are then random. calls: how many
    are timed. compared: with the result of the whole network."""

    task: Literal["encode", "decode"]
    model: str
    side: int
    way: Way
    images: str
    max_memory: str
    calls: int = 3
    compared: bool = True


def measure_all(subjects: list[Subject]) -> list[dict[str, Any]]:
    """A row for each, with `ratio`: its time over the whole network's, None where that is not
    among them."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = [asdict(subject) | pool.submit(measure, subject).result() for subject in subjects]
    for row in rows:
        whole = [
            other["seconds"]
            for other in rows
            if other["way"] == "whole"
            and all(other[k] == row[k] for k in ("task", "model", "side"))
        ]
        row["ratio"] = row["seconds"] / whole[0] if whole else None
    return rows


@torch.inference_mode()
def measure(subject: Subject) -> dict[str, Any]:
    """`seconds`: of the processor, the least of the calls; `wall_seconds`: of the clock.

    `call_mib`: what the first call took at its peak beside what the process held, its result
    included; `resident_mib`: all that the process held then. `max_error` and `levels` (the mean, of
    255): the distance to the whole network, of images clamped to [-1, 1]."""
    torch.set_num_threads(1)
    model = open_model(subject.model)
    x = _photo(subject)
    if subject.task == "decode":
        x = model.encode(x, subject.max_memory)
    call = _call(model, subject)
    held, times = resident("VmRSS"), []
    _forget_peak()
    for repetition in range(subject.calls):
        started = time.process_time(), time.perf_counter()
        found = call(x)
        times.append((time.process_time() - started[0], time.perf_counter() - started[1]))
        if repetition == 0:
            peak = resident("VmHWM")
    row = {
        "seconds": min(seconds for seconds, _ in times),
        "wall_seconds": min(seconds for _, seconds in times),
        "call_mib": peak - held,
        "resident_mib": peak,
    }
    return row | (_errors(model, subject, x, found) if subject.compared else {})


def open_model(name: str) -> Autoencoder:
    if zoo.folder_of(name) is not None or Path(name).is_dir():
        return load(name)
    torch.manual_seed(0)
    return build_model(config.load(Experiment, name, ["data.kind=embedded"]).model).eval()


def _call(model: Autoencoder, subject: Subject) -> Callable[[Tensor], Tensor]:
    if subject.way == "whole":
        return model.encode if subject.task == "encode" else model.decode
    if subject.way == "strips":
        ours: Callable[..., Tensor] = model.encode if subject.task == "encode" else model.decode
        return lambda x: ours(x, max_memory=subject.max_memory)
    from diffusers import AutoencoderKL

    theirs = AutoencoderKL.from_config(
        to_diffusers_config(model.config, LatentScaling(), _SAMPLE_SIZE)
    ).eval()
    theirs.load_state_dict(to_diffusers_state(model))
    if subject.way == "diffusers tiled":
        theirs.enable_tiling()
    if subject.task == "encode":
        return lambda x: theirs.encode(x).latent_dist.mode()
    return lambda x: theirs.decode(x).sample


def _errors(model: Autoencoder, subject: Subject, x: Tensor, found: Tensor) -> dict[str, float]:
    if subject.task == "encode":
        difference = (model.encode(x) - found).abs()
        return {"max_error": float(difference.max())}
    difference = (model.decode(x).clamp(-1, 1) - found.clamp(-1, 1)).abs()
    return {
        "max_error": float(difference.max()),
        "levels": 127.5 * float(difference.double().mean()),
    }


def _photo(subject: Subject) -> Tensor:
    """The first photo, mirrored at its edges until it fills the side."""
    pixels = list_photos(subject.images, 1)[0].pixels()
    missing = [(0, max(subject.side - size, 0)) for size in pixels.shape[:2]]
    whole = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")
    return to_float(np.ascontiguousarray(whole[: subject.side, : subject.side]))


def _forget_peak() -> None:
    """Linux counts the highest resident memory from here on."""
    Path("/proc/self/clear_refs").write_text("5")
