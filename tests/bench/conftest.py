"""Small photos, a panel that needs no network, and a job of encoding."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.encode_dataset import subset
from ldm_ae.bench.photos import Photo, list_photos
from ldm_ae.data.config import DataConfig
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.metrics.table import QUICK
from ldm_ae.store.job import Job
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.views import Views

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture(scope="session")
def quick_panel() -> Panel:
    return open_panel(QUICK)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Of 40 x 32 and 33 x 21 pixels."""
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.fromarray(data.astronaut()[100:140, 100:132]).save(tmp_path / "images" / "b.png")
    Image.fromarray(data.astronaut()[50:83, 200:221]).save(tmp_path / "images" / "deep" / "a.png")
    (tmp_path / "images" / "note.txt").write_text("not an image")
    return list_photos(tmp_path / "images")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Of the first four of five pictures in tmp_path/photos, as one parquet shard."""
    photo = Image.fromarray(data.astronaut())
    (tmp_path / "photos").mkdir()
    for number in range(5):
        photo.crop((number * 64, 0, number * 64 + 64, 64)).save(
            tmp_path / "photos" / f"{number}.png"
        )
    photos = subset(str(tmp_path / "photos"), 4, tmp_path / "set.parquet")
    return Job(
        DataConfig(kind="parquet", path=str(photos), streaming=True),
        ModelChoice(GOLDEN / "kl_v1"),
        Views(size=16),
        Storage("moments"),
        shard_size=2,
    )
