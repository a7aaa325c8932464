from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.opening import open_data
from ldm_ae.data.tables import TableShard


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


@pytest.mark.parametrize("streaming", [False, True])
def test_empty_shards_are_passed_over(
    tmp_path: Path, make: SimpleNamespace, streaming: bool
) -> None:
    make.shards(tmp_path / "p", [2, 0, 1])
    config = DataConfig(
        kind="hub", name=str(tmp_path / "p"), validation_count=0, streaming=streaming
    )
    assert len(open_data(config).training) == 3


def test_part_of_a_split_and_unknown_splits(tmp_path: Path, make: SimpleNamespace) -> None:
    make.shards(tmp_path / "p", [4])
    settings: dict[str, Any] = {"kind": "hub", "name": str(tmp_path / "p"), "validation_count": 0}
    assert len(open_data(DataConfig(split="train[:2]", **settings)).training) == 2
    with pytest.raises(ValueError, match=r"split test\) cannot be loaded.*train"):
        open_data(DataConfig(split="test", **settings))


def test_loose_files_are_read_where_the_builder_puts_them(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    make.folder(tmp_path / "photos", 3)
    images = open_data(
        DataConfig(kind="hub", name=str(tmp_path / "photos"), validation_count=0)
    ).training
    assert all(load_image(images.item(i)[1]).shape == (40, 48, 3) for i in range(3))
    for place in ("elsewhere.png", "photos/../elsewhere.png", "photos/link.png"):
        make.photo(9).save(tmp_path / "elsewhere.png")
        if place == "photos/link.png":
            (tmp_path / place).symlink_to(tmp_path / "elsewhere.png")
        cell = {"bytes": None, "path": str(tmp_path / place)}
        feature = datasets.Features({"image": datasets.Image(decode=False)})
        table = datasets.Dataset.from_dict({"image": [cell]}, features=feature)
        with pytest.raises(BrokenImageError, match="a path instead of an image"):
            TableShard("t", table, "image", (str(tmp_path / "photos"),)).read(0)
