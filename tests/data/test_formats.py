from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from PIL import Image

from ldm_ae.data import formats
from ldm_ae.data.formats import image_endings, is_image_name, unread_endings


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
