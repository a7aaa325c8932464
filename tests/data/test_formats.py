from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ldm_ae.data import formats
from ldm_ae.data.formats import image_endings, is_image_name, unread_endings
from ldm_ae.data.images import load_image
from ldm_ae.data.paths import find_images


@pytest.fixture
def fresh() -> Iterator[None]:
    """Plug-ins are looked for anew, and again after the test."""
    cached = (formats.formats, formats.image_endings, formats.unread_endings)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_every_format_and_ending_is_pillow_s() -> None:
    Image.init()
    known = Image.registered_extensions()
    for name, endings in formats.formats().items():
        assert name in Image.OPEN
        for ending in endings.split():
            assert known.get(f".{ending}", name) == name
    assert not image_endings() & set(unread_endings())


@pytest.mark.parametrize(
    ("module", "ending", "extra"), [("pillow_jxl", ".jxl", "jxl"), ("pillow_heif", ".heic", "heif")]
)
def test_plug_ins_count_where_they_are_installed(
    module: str, ending: str, extra: str, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module)
    assert is_image_name(f"a{ending.upper()}")
    for function in (formats.formats, formats.image_endings, formats.unread_endings):
        function.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert not is_image_name(f"a{ending}")
    assert unread_endings()[ending] == f'pip install "ldm-ae[{extra}]"'


def encoded_by(module: str, image: Image.Image) -> bytes:
    stream = io.BytesIO()
    options = {"lossless": True} if module == "pillow_jxl" else {"quality": 95}
    image.save(stream, {"pillow_jxl": "JXL", "pillow_heif": "HEIF"}[module], **options)
    return stream.getvalue()


@pytest.mark.parametrize(("module", "name"), [("pillow_jxl", "a.jxl"), ("pillow_heif", "b.HEIC")])
def test_plug_ins_pictures_are_found_and_read(
    module: str, name: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    pytest.importorskip(module)
    formats.formats()
    (tmp_path / name).write_bytes(encoded_by(module, make.photo(1)))
    (found,) = find_images(tmp_path)
    difference = load_image(found).astype(int) - np.asarray(make.photo(1))
    assert np.abs(difference).mean() < 10  # of another photo it is above 50
