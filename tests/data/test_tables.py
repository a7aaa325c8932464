from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.opening import open_data
from ldm_ae.data.source import Item


def items(path: Any, **settings: Any) -> list[Item]:
    config = DataConfig(path=path, **{"kind": "arrow", "validation_count": 0, **settings})
    images = open_data(config).training
    return [images.item(index) for index in range(len(images))]


def table(make: SimpleNamespace, first: int, count: int) -> datasets.Dataset:
    cells = [
        {"bytes": make.encoded(make.photo(i)), "path": None} for i in range(first, first + count)
    ]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": cells, "label": list(range(count))}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_saved_data_set_is_opened(tmp_path: Path, make: SimpleNamespace, streaming: bool) -> None:
    table(make, 0, 5).save_to_disk(str(tmp_path / "one"), num_shards=2)
    found = items(str(tmp_path / "one"), streaming=streaming)
    assert len(found) == 5
    for i, (name, data) in enumerate(found):
        assert name.startswith(str(tmp_path / "one"))
        assert (load_image(data) == load_image(make.photo(i))).all()


def test_splits_are_chosen(tmp_path: Path, make: SimpleNamespace) -> None:
    splits = datasets.DatasetDict(train=table(make, 0, 2), test=table(make, 2, 1))
    splits.save_to_disk(str(tmp_path / "two"))
    assert len(items(str(tmp_path / "two"))) == 2
    ((_, data),) = items(str(tmp_path / "two"), split="test")
    assert (load_image(data) == load_image(make.photo(2))).all()
    with pytest.raises(ValueError, match=r"data\.split=new: .*\['test', 'train'\]"):
        items(str(tmp_path / "two"), split="new")
    assert len(items((str(tmp_path / "two" / "train"), str(tmp_path / "two" / "test")))) == 3


def test_the_folder_kind_names_the_right_one(tmp_path: Path, make: SimpleNamespace) -> None:
    table(make, 0, 2).save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=table(make, 0, 2)).save_to_disk(str(tmp_path / "two"))
    for name in ("one", "two"):
        with pytest.raises(ValueError, match=r"holds no image files.*Set data\.kind=arrow$"):
            items(str(tmp_path / name), kind="folder")
        assert len(items(str(tmp_path / name))) == 2


def test_paths_in_a_saved_table_are_not_followed(tmp_path: Path, make: SimpleNamespace) -> None:
    make.photo(0).save(tmp_path / "private.png")
    cell = {"bytes": None, "path": str(tmp_path / "private.png")}
    kind = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict(
        {"image": [cell]}, features=datasets.Features({"image": kind})
    )
    rows.save_to_disk(str(tmp_path / "one"))
    ((_, found),) = items(str(tmp_path / "one"))
    assert isinstance(found, BrokenImageError)


def test_what_is_no_saved_data_set_is_named(tmp_path: Path, make: SimpleNamespace) -> None:
    table(make, 0, 2).save_to_disk(str(tmp_path / "one"))
    state, (arrow,) = tmp_path / "one" / "state.json", (tmp_path / "one").glob("*.arrow")
    whole = json.loads(state.read_text())
    for content, message in [
        ({"_data_files": [{"filename": "../private.arrow"}]}, "outside of its folder"),
        ({}, "does not list its tables"),
        ([], "does not list its tables"),
    ]:
        state.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            items(str(tmp_path / "one"))
    state.write_text(json.dumps(whole))
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"\.arrow cannot be read as an Arrow table"):
        items(str(tmp_path / "one"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no state\.json.*save_to_disk"):
        items(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="gone: no such folder"):
        items(str(tmp_path / "gone"))


@pytest.mark.parametrize("damage", ["offsets", "description"])
def test_a_damaged_table_is_an_error_and_no_crash(
    tmp_path: Path, make: SimpleNamespace, damage: str
) -> None:
    """Arrow maps a table as it is: an offset beyond it would read anywhere."""
    table(make, 0, 3).save_to_disk(str(tmp_path / "one"))
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    content = arrow.read_bytes()
    if damage == "offsets":
        lengths = [len(make.encoded(make.photo(i))) for i in range(3)]
        ends = struct.pack("<3i", lengths[0], sum(lengths[:2]), sum(lengths))
        assert content.count(ends) == 1
        content = content.replace(ends, struct.pack("<3i", 2**30, 5, 2**30 + 1))
    else:
        assert b'{"_type": "Image"}' in content
        content = content.replace(b'{"_type": "Image"}', b'"_type,  a Image!!"')
    arrow.write_bytes(content)
    with pytest.raises(ValueError, match=r"\.arrow cannot be read as an Arrow table"):
        items(str(tmp_path / "one"))
