from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ldm_ae.data import parquet
from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.source import Item

ORDERS = pytest.mark.parametrize("streaming", [False, True])


def items(path: Path | tuple[str, ...], streaming: bool, **settings: Any) -> list[Item]:
    places = path if isinstance(path, tuple) else str(path)
    settings = {"kind": "parquet", "path": places, "validation_count": 0, **settings}
    images = open_data(DataConfig(streaming=streaming, **settings)).training
    return [images.item(index) for index in range(len(images))]


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@ORDERS
def test_a_path_in_a_row_is_never_followed(
    tmp_path: Path, make: SimpleNamespace, streaming: bool
) -> None:
    private = tmp_path / "private.png"
    make.photo(1).save(private)
    os.mkfifo(tmp_path / "pipe")
    cells = [{"bytes": None, "path": str(place)} for place in (private, tmp_path / "pipe")]
    own = {"bytes": make.encoded(make.photo(0)), "path": str(private)}
    write(tmp_path / "in" / "s.parquet", image=[*cells, own])
    *others, last = [found for _, found in items(tmp_path / "in", streaming)]
    for found in others:
        assert isinstance(found, BrokenImageError)
        assert "a path instead of an image" in str(found)
    assert last == own["bytes"]
    config = DataConfig(
        kind="parquet",
        path=str(tmp_path / "in"),
        streaming=streaming,
        size=16,
        num_workers=0,
        validation_count=0,
    )
    batch = next(TrainLoader(open_data(config), 3, seed=0).batches())
    assert {name.split()[-1] for name in batch.names} == {"2"}


@ORDERS
def test_only_the_image_column_is_read(
    tmp_path: Path, make: SimpleNamespace, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may differ from shard to shard, or be damaged."""
    photos = [make.encoded(make.photo(i)) for i in range(2)]
    first = write(tmp_path / "in" / "0.parquet", image=photos[:1], label=[b"D" * 5000])
    write(tmp_path / "in" / "1.parquet", image=photos[1:], caption=["text"], label=[7])
    content = first.read_bytes()
    first.write_bytes(content.replace(b"D" * 50, b"\0" * 50).replace(b"DDDD", b"\xff" * 4))
    found = items(tmp_path / "in", streaming, image_column="image")
    assert [data for _, data in found] == photos
    if not streaming:
        copies = (tmp_path / "datasets-cache").rglob("*.arrow")
        assert all(b"caption" not in copy.read_bytes() for copy in copies)


@ORDERS
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"img": [b"x"]}, r"1\.parquet has no column image, the images of .*0\.parquet"),
        ({"image": ["a.png"]}, r"1\.parquet: its column image holds no encoded images"),
        ({"image": [[b"x"]]}, r"1\.parquet: its column image holds no encoded images"),
        (None, r"1\.parquet cannot be read as parquet: .*take it out"),
    ],
)
def test_the_shard_that_differs_is_named(
    tmp_path: Path,
    make: SimpleNamespace,
    streaming: bool,
    second: dict[str, Any] | None,
    message: str,
) -> None:
    photo = make.encoded(make.photo(0))
    first = write(tmp_path / "in" / "0.parquet", image=[photo])
    if second is None:
        (tmp_path / "in" / "1.parquet").write_bytes(first.read_bytes()[:-9])
    else:
        write(tmp_path / "in" / "1.parquet", **second)
    with pytest.raises(ValueError, match=message):
        items(tmp_path / "in", streaming)
    (tmp_path / "in" / "1.parquet").unlink()  # as the message advises
    assert [data for _, data in items(tmp_path / "in", streaming)] == [photo]


@ORDERS
def test_shards_may_store_images_in_different_ways(
    tmp_path: Path, make: SimpleNamespace, streaming: bool
) -> None:
    photos = [make.encoded(make.photo(i)) for i in range(4)]
    root = tmp_path / "in"
    write(root / "0.parquet", image=pa.nulls(2))
    write(root / "1.parquet", image=[photos[0]])
    write(root / "2.parquet", image=pa.array([photos[1]], pa.large_binary()))
    write(root / "3.parquet", image=[{"bytes": photos[2], "path": "x.png"}])
    write(root / "4.parquet", image=pa.array([], pa.string()))
    write(root / "5.parquet", image=[{"bytes": photos[3]}])
    found = [data for _, data in items(root, streaming)]
    assert found[2:] == photos
    assert all(isinstance(data, BrokenImageError) for data in found[:2])


def damaged(tmp_path: Path, make: SimpleNamespace) -> tuple[Path, list[bytes]]:
    """A shard of three row groups of two photos, of which the second group is damaged."""
    photos = [make.encoded(make.photo(i)) for i in range(6)]
    path = tmp_path / "in" / "s.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"image": photos}), path, row_group_size=2, compression="zstd")
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 400] = b"\xff" * 400
    path.write_bytes(bytes(content))
    return path, photos


def test_a_damaged_row_group_is_left_out_of_a_stream(tmp_path: Path, make: SimpleNamespace) -> None:
    path, photos = damaged(tmp_path, make)
    found = items(path, True)
    assert [data for _, data in found[:2] + found[4:]] == photos[:2] + photos[4:]
    for name, data in found[2:4]:
        assert name.split()[-1] in "23"
        assert isinstance(data, BrokenImageError)
        assert "row group cannot be read" in str(data)
    (shard,) = parquet.parquet_shards([str(path)], None)
    for start in range(7):
        ahead = [name for name, _ in shard.items(start)]
        assert ahead == [name for name, _ in found[start:]]
    with pytest.raises(BrokenImageError):
        shard.read(2)


def test_a_damaged_shard_is_named_with_a_way_out(tmp_path: Path, make: SimpleNamespace) -> None:
    path, _ = damaged(tmp_path, make)
    with pytest.raises(ValueError, match=rf"{path} cannot be read.*data\.streaming=true"):
        items(path.parent, False)
    assert len(items(path.parent, True)) == 6


@pytest.mark.parametrize("kind", ["parquet", "hub"])
@pytest.mark.parametrize("cache", ["a file", "no folder"])
def test_a_cache_that_cannot_be_written_is_not_the_data_s_fault(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, kind: str, cache: str
) -> None:
    make.shards(tmp_path / "in", [2])
    (tmp_path / "a file").touch()
    broken = tmp_path / "a file" if cache == "a file" else Path("/proc/nowhere")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", broken)
    place = str(tmp_path / "in")
    settings = {"kind": kind} | ({"name": place} if kind == "hub" else {"path": place})

    def opened(streaming: bool) -> list[Item]:
        data = open_data(DataConfig(streaming=streaming, validation_count=0, **settings)).training
        return [data.item(index) for index in range(len(data))]

    with pytest.raises(ValueError, match=r"cache.*cannot be written.*HF_DATASETS_CACHE") as error:
        opened(False)
    # As the message advises, each way:
    if "data.streaming=true" in str(error.value):
        found = opened(True)
        assert (load_image(found[1][1]) == load_image(make.photo(1))).all()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    assert len(opened(False)) == 2


def test_a_full_disk_is_named(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        cause = OSError(errno.ENOSPC, "No space left on device")
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from cause

    make.shards(tmp_path / "in", [2])
    monkeypatch.setattr(datasets.Dataset, "from_parquet", full)
    with pytest.raises(ValueError, match=r"cannot copy it to .*cache: .*No space left on device"):
        items(tmp_path / "in", False)


def test_no_rows_at_all_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "in" / "0.parquet", image=pa.array([], pa.binary()))
    for streaming in (False, True):
        with pytest.raises(ValueError, match=r"data\.path=.*in holds no rows"):
            items(tmp_path / "in", streaming)
