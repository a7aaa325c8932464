"""What messages advise is tried: each advice leads on from where its message came."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ldm_ae.data.config import DataConfig
from ldm_ae.data.formats import _PLUGINS
from ldm_ae.data.images import load_image
from ldm_ae.data.opening import Data, open_data
from ldm_ae.data.validation import validation_images

ROOT = Path(__file__).parents[2]


def opened(**settings: Any) -> Data:
    return open_data(DataConfig(**{"validation_count": 0, "size": 16, **settings}))


def advice(message: str, **settings: Any) -> str:
    """What opening this says, which must match."""
    with pytest.raises(ValueError, match=message) as error:
        validation_images(opened(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("name", ["", "part-0"])
def test_shards_taken_for_a_folder_of_images(
    tmp_path: Path, make: SimpleNamespace, kind: Any, name: str
) -> None:
    (make.tars if kind == "tar" else make.shards)(tmp_path / "in", [2])
    path = str(tmp_path / "in" / (name and f"{name}.{kind}"))
    assert advice(r"data\.kind=", path=path).endswith(f"Set data.kind={kind}")
    assert len(opened(path=path, kind=kind).training) == 2


def test_too_many_held_out(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path / "a", 2)
    make.folder(tmp_path / "b", 2)
    path = str(tmp_path / "a")
    advice(r"hold out all 2.*lower it or set data\.validation_path", path=path, validation_count=2)
    assert len(opened(path=path, validation_count=1).training) == 1
    other = opened(path=path, validation_count=2, validation_path=str(tmp_path / "b"))
    assert (len(other.training), len(other.validation)) == (2, 2)


@pytest.mark.parametrize("separate", [False, True])
def test_no_usable_validation_image(
    tmp_path: Path, make: SimpleNamespace, separate: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make.folder(tmp_path / "good", 2)
    (tmp_path / "bad").mkdir()
    for i in range(2):
        (tmp_path / "bad" / f"{i}.jpg").write_bytes(make.truncated_jpeg())
    settings: dict[str, Any] = {"path": str(tmp_path / "bad"), "validation_count": 1}
    if separate:
        settings |= {"path": str(tmp_path / "good"), "validation_path": str(tmp_path / "bad")}
    with caplog.at_level(logging.ERROR):
        said = advice(r"none of 1 validation images is usable.*\.jpg", **settings)
    good = {"validation_path": str(tmp_path / "good")}
    assert len(validation_images(opened(**settings | good))) == 1
    assert ("validation_count=0" in said) == (not separate)
    if not separate:
        assert validation_images(opened(**settings | {"validation_count": 0})) == []


def test_a_table_of_paths(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path / "photos", 3)
    files = [str(path) for path in sorted((tmp_path / "photos").rglob("*.png"))]
    table = tmp_path / "files.parquet"
    pq.write_table(pa.table({"file": files}), table)
    for streaming in (False, True):
        advice(
            r"no column of encoded images.*data\.kind=folder.*text file",
            path=str(table),
            kind="parquet",
            streaming=streaming,
        )
    (tmp_path / "files.txt").write_text("\n".join(pq.read_table(table)["file"].to_pylist()))
    images = opened(path=str(tmp_path / "files.txt")).training
    assert [load_image(images.item(i)[1]).shape for i in range(3)] == [(40, 48, 3)] * 3


def test_random_crops_of_small_images(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path, 2)
    small: dict[str, Any] = {"path": str(tmp_path), "size": 64, "min_side": 32}
    advice(r"use data\.crop=random_resized for smaller", crop="random", **small)
    assert len(opened(crop="random_resized", **small).training) == 2


def test_a_validation_source_needs_its_kind(tmp_path: Path, make: SimpleNamespace) -> None:
    make.tars(tmp_path, [2])
    said = advice(r"set data\.validation_kind", kind="embedded", validation_path=str(tmp_path))
    assert "tar" in said
    found = opened(kind="embedded", validation_path=str(tmp_path), validation_kind="tar")
    assert len(found.validation) == 2


def test_plug_ins_are_installed_by_their_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    packages = {"pillow_jxl": "pillow-jxl-plugin", "pillow_heif": "pillow-heif"}
    for _, module, extra in _PLUGINS.values():
        assert extras[extra][0].startswith(packages[module])
