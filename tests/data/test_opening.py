from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.opening import Data, open_data
from ldm_ae.data.source import Item


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


def test_hub_data_set_is_loaded_by_name(tmp_path: Path, make: SimpleNamespace) -> None:
    make.shards(tmp_path / "p", [3, 2])  # `datasets` takes a local folder for a name
    config = DataConfig(kind="hub", name=str(tmp_path / "p"), validation_count=2)
    assert len(open_data(config).training) == 3


@pytest.mark.parametrize("streaming", [False, True])
def test_unreachable_hub_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    config = DataConfig(kind="hub", name="some/photos", streaming=streaming)
    with pytest.raises(ValueError, match=r"data\.name=some/photos.*no route.*data\.kind=parquet"):
        open_data(config)


def test_missing_empty_and_wrong_paths_are_named(tmp_path: Path, make: SimpleNamespace) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    make.photo(0).save(tmp_path / "one.png")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"path": "gone"}, r"data\.path=.*gone: no such folder"),
        ({"path": "empty"}, r"data\.path=.*empty holds no image files"),
        ({"path": "one.png"}, r"data\.path=.*one\.png is a file"),
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
