"""A dozen pictures, a tiny model, and jobs with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldm_ae.data.config import DataConfig
from ldm_ae.store.job import Job
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
