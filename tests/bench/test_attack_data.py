"""Hostile shards and pictures: they begin as sound ones, and a reader that fails is noticed."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldm_ae.data.parquet
from ldm_ae.bench import attack_data
from ldm_ae.errors import UserError

MODEL = Path("unused")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # one is meant to be
def test_pictures_of_every_format_are_read(tmp_path: Path) -> None:
    target = attack_data.images(MODEL, tmp_path)
    formats = []
    for data in target.whole:
        assert target.read(data).size == (72, 48)
        with Image.open(io.BytesIO(data)) as image:
            formats.append(image.format)
    assert set(formats) == {"PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM"}


def test_many_damaged_headers_of_tars_have_a_checksum_that_suits(tmp_path: Path) -> None:
    """Else none would be read further than to its first header."""
    target, rng = attack_data.tar(MODEL, tmp_path), np.random.default_rng(0)
    (whole,) = target.whole
    accepted = 0
    for data in (target.hostile(target.whole, rng) for _ in range(100)):
        if data[:148] + data[156:512] != whole[:148] + whole[156:512]:
            try:
                tarfile.TarInfo.frombuf(data[:512], "utf-8", "surrogateescape")
                accepted += 1
            except tarfile.HeaderError:
                pass
    assert accepted > 10


def test_tars_hold_long_names_and_some_no_end_of_them(tmp_path: Path) -> None:
    target, rng = attack_data.tar(MODEL, tmp_path), np.random.default_rng(0)
    target.read(target.whole[0])
    with tarfile.open(fileobj=io.BytesIO(target.whole[0])) as archive:
        assert max(len(name) for name in archive.getnames()) > 100
    endless = max((target.hostile(target.whole, rng) for _ in range(1000)), key=len)
    assert len(endless) >= 500 * 1024 and endless == endless[:1024] * (len(endless) // 1024)
    with pytest.raises(UserError):
        target.read(endless)


def test_a_row_that_gives_a_path_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard from a stranger could else have any file of its reader's read."""
    target = attack_data.parquet(MODEL, tmp_path)
    assert b"/etc/hostname" in target.whole[1]
    for data in target.whole:
        target.read(data)

    def leaky(*arguments: object):
        source = opened(*arguments)
        for shard in source.shards:
            object.__setattr__(shard, "items", lambda start: [("row", "/etc/hostname")])
        return source

    opened = ldm_ae.data.parquet.open_parquet
    monkeypatch.setattr(ldm_ae.data.parquet, "open_parquet", leaky)
    target = attack_data.parquet(MODEL, tmp_path)
    with pytest.raises(AssertionError, match="gave the path '/etc/hostname'"):
        target.read(target.whole[0])


def test_parquet_is_damaged_at_its_end_too(tmp_path: Path) -> None:
    """Its footer says what is in it."""
    target, rng = attack_data.parquet(MODEL, tmp_path), np.random.default_rng(0)
    found = [target.hostile(target.whole, rng) for _ in range(300)]
    assert found.count(target.whole[1]) >= 5
    beginning, end = target.whole[0][:600], target.whole[0][-600:]
    behind = [data for data in found if data.startswith(beginning) and not data.endswith(end)]
    assert len(behind) > 30
    assert sum(data.endswith(b"PAR1") for data in behind) > 10  # else it is refused at a glance
