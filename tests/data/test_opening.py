from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import Data, open_data
from ldm_ae.data.source import Item
from ldm_ae.data.validation import validation_images


def trained(config: DataConfig) -> list[Item]:
    images = open_data(config).training
    return [images.item(i) for i in range(len(images))]


def names(data: Data) -> tuple[list[str], list[str]]:
    """Of training and validation."""
    training = [data.training.name(i) for i in range(len(data.training))]
    return training, [name for name, _ in data.validation.items()]


def test_folder_is_read_in_any_layout(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path / "in", 6)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    make.photo(9).save(tmp_path / "in" / "deep" / "UPPER.JPG")
    found = dict(trained(DataConfig(path=str(tmp_path / "in"), validation_count=0)))
    assert {"deep/UPPER.JPG", "deep/er/photo001.png"} < set(found)
    assert len(found) == 7
    assert all(load_image(path).shape == (40, 48, 3) for path in found.values())


def test_hold_out_splits_without_overlap(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path, 12)
    config = DataConfig(path=str(tmp_path), validation_count=5)
    train, validation = map(set, names(open_data(config)))
    assert (len(train), len(validation)) == (7, 5)
    assert not train & validation


def test_own_validation_source_leaves_training_whole(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path / "a", 4)
    make.shards(tmp_path / "b", [3, 2])
    config = DataConfig(
        path=str(tmp_path / "a"),
        validation_path=str(tmp_path / "b"),
        validation_kind="parquet",
        validation_count=0,
    )
    data = open_data(config)
    assert (len(data.training), len(data.validation)) == (4, 5)


def test_embedded_split_keeps_the_stereo_pair_together() -> None:
    config = DataConfig(kind="embedded")
    data = open_data(config)
    train, validation = names(data)
    assert not set(train) & set(validation)
    assert sum("motorcycle" in name for name in train) == 2
    for _, path in (*trained(config), *data.validation.items()):
        assert min(load_image(path).shape[:2]) >= 300


@pytest.mark.parametrize("pattern", ["", "*.parquet", "part-0.parquet"])
def test_parquet_folder_glob_and_file(tmp_path: Path, make: SimpleNamespace, pattern: str) -> None:
    make.shards(tmp_path / "p", [3, 2])
    config = DataConfig(kind="parquet", path=str(tmp_path / "p" / pattern), validation_count=0)
    items = trained(config)
    assert len(items) == (3 if "0" in pattern else 5)
    assert (load_image(items[2][1]) == load_image(make.photo(2))).all()


@pytest.mark.parametrize("pattern", ["", "*.tar", "part-0.tar", "part-{0..1}.tar"])
def test_tar_folder_glob_braces_and_file(
    tmp_path: Path, make: SimpleNamespace, pattern: str
) -> None:
    make.tars(tmp_path / "t", [3, 2])
    config = DataConfig(kind="tar", path=str(tmp_path / "t" / pattern), validation_count=0)
    items = trained(config)
    assert len(items) == (3 if pattern == "part-0.tar" else 5)
    for i, (name, encoded) in enumerate(items):
        assert (load_image(encoded) == load_image(make.photo(i))).all()
        assert name.endswith(f" {i:04d}.png")


def test_missing_empty_and_wrong_paths_are_named(tmp_path: Path, make: SimpleNamespace) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    make.photo(0).save(tmp_path / "one.png")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"path": "gone"}, r"data\.path=.*gone: no such folder"),
        ({"path": "empty"}, r"data\.path=.*empty holds no image files"),
        ({"path": "bad.parquet"}, r"data\.path=.*bad\.parquet is a file"),
        ({"path": "gone", "kind": "parquet"}, r"data\.path=.*gone: no such"),
        ({"path": "empty", "kind": "parquet"}, r"empty holds no \.parquet files"),
        ({"path": "bad.parquet", "kind": "parquet"}, r"bad\.parquet cannot be read as parquet"),
        ({"path": "gone.tar", "kind": "tar"}, r"data\.path=.*gone\.tar: no such"),
        ({"path": "empty", "kind": "tar"}, r"empty holds no \.tar files"),
        ({"path": "bad.parquet", "kind": "tar"}, r"bad\.parquet cannot be read as an unc"),
        ({"path": ".", "validation_count": 1}, r"data\.validation_count=1 would hold out all 1"),
    ]
    for settings, message in cases:
        settings["path"] = str(tmp_path / settings["path"])
        with pytest.raises(ValueError, match=message):
            open_data(DataConfig(**settings))
    config = DataConfig(kind="embedded", validation_kind="folder", validation_path="gone")
    with pytest.raises(ValueError, match=r"data\.validation_path=gone"):
        open_data(config)


def listing(root: Path, form: str, places: list[str]) -> str | tuple[str, ...]:
    """As a list in YAML, or as a text file that names them relative to itself."""
    if form == "list":
        return tuple(str(root / place) for place in places)
    endings = {"text": "\n", "windows text": "\r\n"}
    text = endings[form].join([*places[:1], "", *places[1:]])
    (root / "paths.txt").write_bytes(
        (b"\xef\xbb\xbf" if form == "windows text" else b"") + text.encode()
    )
    return str(root / "paths.txt")


FORMS = pytest.mark.parametrize("form", ["list", "text", "windows text"])


@FORMS
def test_several_folders_and_files_are_one_source(
    tmp_path: Path, make: SimpleNamespace, form: str
) -> None:
    for name, number in (("a/0.png", 0), ("a/deep/1.png", 1), ("b/2.png", 2), ("3.png", 3)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make.photo(number).save(tmp_path / name)
    places = ["b", "3.png", "a", "a/deep", "gone.png"]
    items = trained(DataConfig(path=listing(tmp_path, form, places), validation_count=0))
    numbers = [2, 3, 0, 1]
    assert len(items) == 5
    for number, (name, path) in zip(numbers, items, strict=False):
        assert name.endswith(f"{number}.png")
        assert (load_image(path) == load_image(make.photo(number))).all()
    assert items[-1][0].endswith("gone.png")  # found missing when it is read
    held_out = DataConfig(path=listing(tmp_path, form, places), validation_count=2)
    train, validation = names(open_data(held_out))
    assert set(train) | set(validation) == {name for name, _ in items}
    if form != "list":
        assert items[0][0] == "b/2.png"


@FORMS
@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_several_shards_are_one_source(
    tmp_path: Path, make: SimpleNamespace, form: str, kind: Any, streaming: bool
) -> None:
    write = make.tars if kind == "tar" else make.shards
    write(tmp_path / "all", [2, 1, 2])
    parts = [f"all/part-1.{kind}", f"all/part-0.{kind}", "all"]
    config = DataConfig(
        kind=kind, path=listing(tmp_path, form, parts), validation_count=0, streaming=streaming
    )
    found = [load_image(data) for _, data in trained(config)]
    expected = [load_image(make.photo(i)) for i in (2, 0, 1, 3, 4)]
    assert [(left == right).all() for left, right in zip(found, expected, strict=True)] == [
        True
    ] * 5


def test_lists_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"data\.path=.*none\.txt lists no paths"):
        open_data(DataConfig(path=str(tmp_path / "none.txt")))
    with pytest.raises(ValueError, match=r"data\.path is not set"):
        DataConfig(path=())
    with pytest.raises(ValueError, match=r"data\.path=.*gone: no such folder"):
        open_data(DataConfig(path=("a.png", str(tmp_path / "gone"))))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_are_used(tmp_path: Path, make: SimpleNamespace) -> None:
    odd = [b"caf\xe9.png", b"\xff\xfe/b.png", b"line\nbreak.png", b"x" * 246 + b".png"]
    for number, name in enumerate(odd):
        path = tmp_path / "in" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.encoded(make.photo(number)))
    config = DataConfig(path=str(tmp_path / "in"), size=16, num_workers=0, validation_count=1)
    data = open_data(config)
    assert len(validation_images(data)) == 1
    batch = next(TrainLoader(data, 3, seed=0).batches())
    assert batch.skipped == []
    assert all(name.encode().decode().isprintable() for name in batch.names)
    (tmp_path / "list.txt").write_bytes(b"in/caf\xe9.png\nin/\xff\xfe\n")
    listed = trained(DataConfig(path=str(tmp_path / "list.txt"), validation_count=0))
    assert [load_image(path).shape for _, path in listed] == [(40, 48, 3)] * 2
    for place in (b"in/\xff\xfe", b"in/\xe9"):
        with pytest.raises(ValueError, match=r"data\.path=.*is not UTF-8"):
            DataConfig(path=str(tmp_path / os.fsdecode(place)))
    (tmp_path / "link").symlink_to(tmp_path / os.fsdecode(b"in/\xff\xfe"))  # as it advises
    assert len(trained(DataConfig(path=str(tmp_path / "link"), validation_count=0))) == 1
