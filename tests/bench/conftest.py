"""Small photos, and a panel that needs no network."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.photos import Photo, list_photos
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.metrics.table import QUICK


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
