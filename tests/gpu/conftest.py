"""What a processor cannot show. A run has one precision, so each is a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TINY = [
    "data.kind=embedded", "data.size=64", "data.num_workers=0", "train.batch_size=4",
    "train.warmup_steps=1", "train.validate_every=100", "train.checkpoint_every=3",
    "train.trackers=[]", "loss.perceptual={net: embedded}", "train.device=cuda",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """train("run", "train.steps=2", ...) -> the run's folder"""

    def run(name: str, *overrides: str) -> Path:
        folder = tmp_path / name
        command = [sys.executable, "-m", "ldm_ae", "train", "--config", "kl_f8_small"]
        command += ["--resume", "auto", f"train.run_dir={folder}", *TINY, *overrides]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return folder

    return run
