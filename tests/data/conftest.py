"""Small image sources for the tests of the data pipeline, as the fixture `make`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that `datasets` prepares go to the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def make() -> SimpleNamespace:
    functions = (photo, encoded, folder, shards, tars, tar, truncated_jpeg)
    return SimpleNamespace(**{function.__name__: function for function in functions})


def photo(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """Smooth colour noise, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def folder(root: Path, count: int) -> Path:
    """`count` PNG photos below `root`, half of them in nested folders."""
    for i in range(count):
        path = root / ("deep/er" if i % 2 else ".") / f"photo{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(path)
    return root


def shards(root: Path, counts: list[int], rows_per_group: int = 3) -> Path:
    """Parquet shards of PNG photos; photo i is the i-th row over all shards."""
    root.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, count in enumerate(counts):
        cells = [{"bytes": encoded(photo(first + i)), "path": None} for i in range(count)]
        table = pa.table({"image": cells, "label": list(range(count))})
        pq.write_table(table, root / f"part-{number}.parquet", row_group_size=rows_per_group)
        first += count
    return root


def tars(root: Path, counts: list[int]) -> Path:
    """WebDataset shards of PNG photos with labels; photo i is the i-th image over all shards."""
    root.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, count in enumerate(counts):
        members: list[tuple[str, bytes]] = []
        for i in range(first, first + count):
            members += [(f"{i:04d}.cls", b"7"), (f"{i:04d}.png", encoded(photo(i)))]
        tar(root / f"part-{number}.tar", members)
        first += count
    return root


def tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, payload in members:
            header = tarfile.TarInfo(name)
            header.size = len(payload)
            file.addfile(header, io.BytesIO(payload))
    return path


def truncated_jpeg() -> bytes:
    whole = encoded(photo(99, 200, 160), "JPEG", quality=95)
    return whole[: len(whole) // 2]
