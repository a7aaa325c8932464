"""Shards that were made on purpose, or that vanish."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.tars import index_tar
from ldm_ae.errors import UserError


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_twenty_thousand_headers_before_one_another(form: int, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as file:
        file.addfile(tarfile.TarInfo("n" * 150 + ".png"))
    header = stream.getvalue()[:1024]  # what only precedes a member's own
    (tmp_path / "s.tar").write_bytes(header * 20_000)
    with pytest.raises(UserError, match=r"s\.tar cannot be read as an uncompressed tar shard"):
        index_tar(str(tmp_path / "s.tar"))


def test_images_of_a_shard_that_vanishes_are_broken_ones(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    path = make.tar(tmp_path / "s.tar", [("0.png", b"0"), ("1.png", b"1"), ("2.png", b"2")])
    shard = index_tar(str(path))
    path.unlink()
    with pytest.raises(BrokenImageError, match="the shard cannot be opened: No such file"):
        shard.read(1)
    found = list(shard.items(1))
    assert [name for name, _ in found] == [f"{path} 1.png", f"{path} 2.png"]
    assert all(isinstance(item, BrokenImageError) for _, item in found)
