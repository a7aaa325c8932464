"""A dozen pictures, a tiny model, jobs with them, and what the jobs leave."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldm_ae.data.config import DataConfig
from ldm_ae.store.job import Job
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.run import Outcome, encode_dataset
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.views import Views

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 10 if seed % 2 else 4, 3), dtype=np.uint8)
    Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(path)


@pytest.fixture
def save_picture() -> Callable[[Path, int], None]:
    """Another picture for each seed; 32 x 32, or 80 x 32 of an odd one."""
    return draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four pictures, the first with captions."""
    for label, first in (("cat", 0), ("dog", 4)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for seed in range(first, first + 4):
            draw(folder / f"{seed}.png", seed)
            if label == "cat":
                (folder / f"{seed}.txt").write_text(f"cat number {seed}\n")
    return tmp_path / "photos"


@pytest.fixture
def make_job(photos: Path) -> Callable[..., Job]:
    def make(model: str = "kl_v1", **changes: Any) -> Job:
        storage = changes.pop("storage", Storage(dtype="float32"))
        job = Job(
            DataConfig(path=str(photos)),
            ModelChoice(GOLDEN / model),
            Views(size=16),
            storage,
            shard_size=3,
            batch_size=2,
        )
        return replace(job, **changes)

    return make


@pytest.fixture(params=["parquet", "tar", "files"])
def layout(request: pytest.FixtureRequest) -> str:
    """Every one that a store may have."""
    return request.param


@pytest.fixture
def encode(tmp_path: Path) -> Callable[..., Outcome]:
    """encode(job, "out", processes=2): makes the folder `out` the job's store"""

    def run(job: Job, name: str = "out", **options: Any) -> Outcome:
        return encode_dataset(job, tmp_path / name, threads=1, **options)

    return run


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Of all files of a store, but for the one that names a process."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name != ".lock"}

    return read


@pytest.fixture
def ids() -> Callable[[Path], list[str]]:
    """Of a store's rows."""

    def read(folder: Path) -> list[str]:
        store = LatentStore(folder)
        return [store.row(number).id for number in range(len(store))]

    return read
