"""A tiny experiment on a few synthetic pictures, for every test of training."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ldm_ae import config
from ldm_ae.data.batch import Batch
from ldm_ae.train import export_run
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.config import Experiment
from ldm_ae.train.state import TrainState

TINY: dict[str, Any] = {
    "model": {
        "kind": "kl",
        "coder": {
            "channels": [8, 8],
            "num_res_blocks": 1,
            "mid_attention": False,
            "norm_groups": 4,
        },
        "latent_channels": 2,
    },
    "data": {"size": 16, "crop": "random", "num_workers": 0, "validation_count": 2},
    "loss": {"perceptual": {"net": "none"}, "perceptual_weight": 0},
    "train": {
        "steps": 4,
        "batch_size": 2,
        "warmup_steps": 2,
        "lr": 1e-3,
        "log_every": 1,
        "validate_every": 4,
        "checkpoint_every": 2,
        "device": "cpu",
        "precision": "fp32",
        "kernels": "plain",
    },
}


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export's statistics over 512 crops would take longer than the training before it."""
    monkeypatch.setattr(export_run, "MIN_CROPS", 40)


@pytest.fixture
def float64() -> Iterator[None]:
    """For tests of equality: what is left of a difference is rounding, about 1e-16 a sum."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def tiny_yaml(tmp_path: Path, photos: Path) -> Path:
    """TINY as a file, on the photos, with its run under tmp_path/run."""
    content = copy.deepcopy(TINY)
    content["data"]["path"] = str(photos)
    content["train"]["run_dir"] = str(tmp_path / "run")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def make_experiment(tiny_yaml: Path):
    """make_experiment("train.steps=2", ...) -> Experiment"""

    def make(*overrides: str) -> Experiment:
        return config.load(Experiment, tiny_yaml, list(overrides))

    return make


@pytest.fixture
def make_state(make_experiment):
    """make_state("loss.kl_weight=0", ...) -> TrainState with the same weights every time, and
    the whole learning rate from the first step"""

    def make(*overrides: str) -> TrainState:
        experiment = make_experiment("train.warmup_steps=0", *overrides)
        return build_state(experiment, make_accelerator(experiment.train, Path("unused")))

    return make


@pytest.fixture
def make_batch():
    """make_batch(2, first=1) -> images 1 and 2 of eight random ones"""

    def make(num_images: int, first: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(5)
        images = torch.rand(8, 3, 16, 16, generator=generator)[first : first + num_images] * 2 - 1
        keys = torch.arange(first, first + num_images)
        return Batch(images, keys, [f"{key}.png" for key in keys.tolist()], [])

    return make


@pytest.fixture
def flat():
    """flat(module) -> its whole state as one float64 vector, a copy"""

    def flatten(module: torch.nn.Module) -> torch.Tensor:
        return torch.cat([value.double().flatten() for value in module.state_dict().values()])

    return flatten


@pytest.fixture
def replaced_measurement(monkeypatch: pytest.MonkeyPatch):
    """replaced_measurement(module, "name", 0.5): what a timing finds; None: it must not be made"""

    def replace_it(module, name: str, ratio: float | None) -> None:
        def measure(experiment) -> float:
            assert ratio is not None
            return ratio

        monkeypatch.setattr(module, name, measure)

    return replace_it
