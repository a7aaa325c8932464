"""Kills a short GAN + EMA + VQ run at random moments, resumes it each time, and compares the end
with that of a run nobody touched: weights, averages, discriminator, optimizers and validation
history, bit for bit.

Where a run ends before enough kills fell, another one begins; every one of them is compared.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ldm_ae import config
from ldm_ae.bench.lives import Life, fork
from ldm_ae.train.config import Experiment

STEPS = 30
# A VQ model with EMA codes, revival and an adversary that warms up and ramps.
RUN = f"""
model:
  kind: discrete
  latent_channels: 3
  coder: {{channels: [8, 8], num_res_blocks: 1, mid_attention: false, norm_groups: 4}}
  codebook: {{kind: vq, size: 16, revive_after: 3}}
data: {{size: 16, crop: random, num_workers: 0, validation_count: 2, stream_lanes: 4}}
loss:
  perceptual: {{net: none}}
  perceptual_weight: 0
  adversarial: {{weight: 0.5, start_step: 4, discriminator_warmup_steps: 4, ramp_steps: 8,
    lr_warmup_steps: 3, lecam_weight: 0.1, num_layers: 2, base_channels: 8}}
train: {{steps: {STEPS}, batch_size: 2, warmup_steps: 5, lr: 1e-3, log_every: 1, validate_every: 7,
  checkpoint_every: 3, best_metric: psnr, device: cpu, precision: fp32, kernels: plain}}
"""  # no precision or kernels of auto: a life that starts anew would choose again


def describe_run(run_dir: Path, data_dir: Path, source: str) -> Experiment:
    """`RUN`, from the folder of pictures or, as a stream, from their parquet shards."""
    path = data_dir / f"{run_dir.name}.yaml"
    path.write_text(RUN, encoding="utf-8")
    stream = ["data.kind=parquet", "data.streaming=true"]
    places = [f"data.path={data_dir / source}", f"train.run_dir={run_dir}"]
    return config.load(Experiment, path, places + (stream if source == "stream" else []))


def write_pictures(data_dir: Path) -> None:
    """12 smooth random pictures, as files and as two parquet shards."""
    from ldm_ae.bench.input_stall import write_parquet  # its pyarrow stays out of other processes

    rng = np.random.default_rng(0)
    (data_dir / "folder").mkdir()
    for i in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        picture = coarse.resize((40, 32), Image.Resampling.BICUBIC)
        picture.save(data_dir / "folder" / f"{i:02d}.png")
    write_parquet(sorted((data_dir / "folder").iterdir()), data_dir / "stream", num_shards=2)


def digests(run_dir: Path) -> dict[str, str]:
    """sha256 of everything that must come out alike."""
    last = run_dir / "checkpoints" / f"step-{STEPS:08d}"
    export = run_dir / "export" / "diffusion_pytorch_model.safetensors"
    files = {
        "model": last / "model.safetensors",
        "ema": last / "ema.safetensors",
        "validation history": run_dir / "validation.jsonl",
        "export": export,
    }
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    training = hashlib.sha256()
    feed(training, torch.load(last / "training.pt", weights_only=True))
    return found | {"discriminator and optimizers": training.hexdigest()}


def feed(digest: Any, state: Any) -> None:
    """Nested dicts of tensors and numbers, in an order that does not hang on how they were made."""
    if isinstance(state, dict):
        for key in sorted(state, key=str):
            digest.update(str(key).encode())
            feed(digest, state[key])
    elif isinstance(state, (list, tuple)):
        for value in state:
            feed(digest, value)
    elif isinstance(state, torch.Tensor):
        digest.update(state.contiguous().view(-1).numpy().tobytes())
    else:
        digest.update(repr(state).encode())


def run_untouched(root: Path, processes: int, source: str) -> tuple[dict[str, str], float]:
    experiment = describe_run(root / "untouched", root, source)
    began = time.monotonic()
    if not Life(experiment, processes).wait(300):
        raise RuntimeError("the untouched run did not end in 5 minutes")
    return digests(root / "untouched"), time.monotonic() - began


def run_killed(
    root: Path, processes: int, source: str, kills: int, seconds: float
) -> tuple[list[dict[str, str]], list[str]]:
    """Lives of random length until that many were cut short; the digests of each run."""
    ends: list[dict[str, str]] = []
    fallen: list[str] = []
    while len(fallen) < kills or not ends:
        experiment = describe_run(root / f"killed-{len(ends)}", root, source)
        while True:
            life = Life(experiment, processes)
            left = kills - len(fallen)
            if life.wait(random.uniform(0.02, 0.4) * seconds if left > 0 else 300):
                break
            if left <= 0:
                raise RuntimeError("a resumed run did not end in 5 minutes")
            fallen.append(life.kill())
        ends.append(digests(Path(experiment.train.run_dir)))
    return ends, fallen


def compare_ends(root: Path, processes: int, source: str, kills: int) -> dict[str, Any]:
    """The result of one setting; `root` is an empty folder to work in."""
    os.waitpid(fork(partial(write_pictures, root)), 0)
    began = time.monotonic()
    expected, seconds = run_untouched(root, processes, source)
    ends, fallen = run_killed(root, processes, source, kills, seconds)
    return {
        "kills": len(fallen),
        "killed_while": dict(Counter(fallen).most_common()),
        "runs_killed": len(ends),
        "equal": all(end == expected for end in ends),
        "untouched": expected,
        "killed": ends[-1],
        "seconds": round(time.monotonic() - began, 1),
        "torch": torch.__version__,
    }
