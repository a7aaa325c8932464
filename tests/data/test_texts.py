"""Captions and labels, of every kind of source."""

import io
import json
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import OPENERS, kind_of
from ldm_ae.data.source import Source
from ldm_ae.data.texts import TextColumns, Texts
from ldm_ae.errors import UserError


@pytest.fixture
def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="png")
    return buffer.getvalue()


def opened(path: Path) -> Source:
    kind = kind_of(str(path))
    streaming = kind in ("parquet", "tar")
    config = DataConfig(kind=kind, path=str(path), streaming=streaming)
    return OPENERS[kind](config, "IMAGES")


def texts(source: Source, columns: TextColumns | None = None) -> list[Texts]:
    return [source.texts(row, columns or TextColumns()) for row in range(len(source))]


def test_folders(tmp_path: Path, png: bytes) -> None:
    for name in ("a.png", "cat/b.png", "x/dog/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png)
    (tmp_path / "cat" / "b.txt").write_text(" a cat\n")
    source = opened(tmp_path)
    assert texts(source) == [Texts(), Texts("a cat", "cat"), Texts(None, "dog")]
    assert [source.key(row) for row in range(3)] == ["a.png", "cat/b.png", "x/dog/c.png"]


def test_parquet(tmp_path: Path, png: bytes) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "caption": datasets.Value("string"),
            "other": datasets.Value("string"),
        }
    )
    cells = {
        "image": [{"bytes": png, "path": None}] * 5,
        "label": [0, 1, 1, 0, None],
        "caption": ["a", "b", None, "d", "e"],
        "other": list("vwxyz"),
    }
    table = pa.table(cells, schema=features.arrow_schema)
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=2)
    source = opened(tmp_path / "set.parquet")
    wanted = [Texts("a", "cat"), Texts("b", "dog"), Texts(None, "dog"), Texts("d", "cat")]
    assert texts(source) == [*wanted, Texts("e")]
    assert texts(source, TextColumns(caption="other"))[3] == Texts("y", "cat")
    assert source.key(4) == "set/0000004"
    with pytest.raises(UserError, match="has no column nothing"):
        texts(source, TextColumns(label="nothing"))


def test_saved_tables(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    pictures = [Image.new("RGB", (8, 8))] * 2
    table = datasets.Dataset.from_dict({"image": pictures, "label": [1, 0]}, features=features)
    table.save_to_disk(tmp_path / "saved")
    assert texts(opened(tmp_path / "saved")) == [Texts(None, "dog"), Texts(None, "cat")]


def test_tar_samples(tmp_path: Path, png: bytes) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, content in {
            "a/0.png": png,
            "a/0.txt": b"zero\n",
            "a/0.cls": b"7",
            "a/1.png": png,
            "a/1.json": json.dumps({"caption": "one", "label": 3, "width": 9}).encode(),
            "a/2.png": png,
            "a/2.json": b"broken",
        }.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    source = opened(tmp_path / "set.tar")
    assert texts(source) == [Texts("zero", "7"), Texts("one", "3"), Texts()]
    assert [source.key(row) for row in range(3)] == ["set/a/0", "set/a/1", "set/a/2"]


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    for shard in range(2):
        cells = [{"bytes": bytes([shard, row]), "path": None} for row in range(4)]
        pq.write_table(pa.table({"image": cells}), tmp_path / f"{shard}.parquet")
    rows = [5, 6, 2, 3, 4, 0]
    found = [content for _, content in opened(tmp_path).items(rows)]
    assert found == [bytes([row // 4, row % 4]) for row in rows]


def test_kinds_are_seen(tmp_path: Path, png: bytes) -> None:
    for name in ("tables/a.parquet", "tars/b.tar", "both/c.parquet", "both/more/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png)
    kinds = {"tables": "parquet", "tars": "tar", "both": "folder", "nothing": "folder"}
    for name, kind in kinds.items():
        assert kind_of(str(tmp_path / name)) == kind
    assert kind_of("shards/{000..127}.tar") == "tar"
    assert kind_of("hub:owner/set") == "hub"


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ({"text": ["first", "second"], "class": True}, Texts("first")),
        ({"prompt": b"bytes", "cls": 5}, Texts("bytes", "5")),
        ({"caption": [], "label": 1.5}, Texts()),
    ],
)
def test_odd_cells(cells: dict, wanted: Texts) -> None:
    assert TextColumns().of(cells, "a row") == wanted
