"""A store of eight pictures in two classes, by a tiny model whose scaling matters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldm_ae import config
from ldm_ae.data.config import DataConfig
from ldm_ae.diffusion.config import DiffusionConfig, load_diffusion
from ldm_ae.store.job import Job
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.views import Views

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
TINY = [
    "denoiser={num_layers: 1, num_heads: 2, head_dim: 8, patch_size: 4}",
    "sampling={num_steps: 2, rows: 1}",
    "train={steps: 4, batch_size: 2, optimizer: muon, lr: 1e-3, warmup_steps: 1, log_every: 1,"
    " checkpoint_every: 2, sample_every: 4, num_workers: 0, device: cpu}",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An AutoencoderKL with a scaling factor, and a shift that DiTPipeline knows nothing of."""
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "kl_v1", folder)
    content = json.loads((folder / "config.json").read_text())
    content |= {"scaling_factor": 0.5, "shift_factor": 0.3}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of four; draw(i) is 40 x 32 pixels."""
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = tmp_path / "pictures" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
        Image.fromarray(picture).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def make_store(tmp_path: Path, pictures: Path, model: Path) -> Callable[..., Path]:
    """make_store("other", storage=Storage("moments")) -> its folder"""

    def make(name: str = "store", **changes: Any) -> Path:
        given = {"data": DataConfig(path=str(pictures)), "model": ModelChoice(model)}
        given |= {"views": Views(size=16), "storage": Storage(dtype="float32")}
        job = Job(**(given | changes), shard_size=3)
        encode_dataset(job, tmp_path / name, threads=1)
        return tmp_path / name

    return make


@pytest.fixture
def make_config(tmp_path: Path, model: Path) -> Callable[..., DiffusionConfig]:
    """make_config(store, "train.steps=2", run="run") -> DiffusionConfig"""

    def make(store: Path, *overrides: str, run: str = "run") -> DiffusionConfig:
        empty = tmp_path / "empty.yaml"
        empty.write_text("{}")
        own = {"store": str(store), "model": str(model), "run_dir": str(tmp_path / run)}
        return load_diffusion(empty, [*TINY, *overrides], **own)

    return make


@pytest.fixture
def read_config() -> Callable[[Path], DiffusionConfig]:
    return lambda path: config.load(DiffusionConfig, path)
