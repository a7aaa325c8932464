from __future__ import annotations

from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ldm_ae.data import streams
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import load_image
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.streams import StreamViews

NUM_IMAGES = 23


@pytest.fixture
def stream(tmp_path: Path, make: SimpleNamespace) -> Path:
    return make.shards(tmp_path / "stream", [9, 4, 10])


def config(path: Path, **settings: Any) -> DataConfig:
    defaults = {"size": 16, "num_workers": 0, "validation_count": 0, "stream_lanes": 4}
    return DataConfig(kind="parquet", path=str(path), streaming=True, **{**defaults, **settings})


def seen(
    cfg: DataConfig, count: int, start: int = 0, batch: int = 4, **kw: int
) -> dict[int, tuple[str, torch.Tensor]]:
    """position => (name, crop), of `count` batches."""
    batches = islice(TrainLoader(open_data(cfg), batch, seed=0, **kw).batches(start), count)
    return {
        int(key): (name, image)
        for b in batches
        for key, name, image in zip(b.keys, b.names, b.images, strict=True)
    }


def equal(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(
        left[k][0] == right[k][0] and torch.equal(left[k][1], right[k][1]) for k in left
    )


@pytest.mark.parametrize("lanes", [1, 4, 7, 40])
@pytest.mark.parametrize("window", [1, 5])
def test_every_image_comes_once_per_epoch(stream: Path, lanes: int, window: int) -> None:
    samples = seen(config(stream, stream_lanes=lanes, shuffle_window=window), 69, batch=1)
    names = [samples[p][0] for p in range(3 * NUM_IMAGES)]
    epochs = [names[i : i + NUM_IMAGES] for i in range(0, len(names), NUM_IMAGES)]
    assert all(len(set(epoch)) == NUM_IMAGES for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # few cores
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(stream: Path, workers: int) -> None:
    whole = seen(config(stream), 14)
    assert equal(whole, seen(config(stream, num_workers=workers), 14))


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_positions_of_one_process(stream: Path, workers: int) -> None:
    whole = seen(config(stream), 12)  # 48 positions: more than two epochs
    cfg = config(stream, num_workers=workers)
    ranks = [seen(cfg, 12, batch=2, rank=r, world_size=2) for r in range(2)]
    assert not ranks[0].keys() & ranks[1].keys()
    assert equal(whole, ranks[0] | ranks[1])


def test_no_two_workers_read_the_same_bytes(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 ranks x 2 workers on 4 lanes: each reads a lane of its own, nothing twice."""
    cfg = config(stream)
    images, lanes, names = open_data(cfg).training, [], []
    for rank in range(2):
        for worker in range(2):
            info = SimpleNamespace(id=worker, num_workers=2)
            monkeypatch.setattr(streams, "get_worker_info", lambda info=info: info)
            samples = iter(StreamViews(images, cfg, 0, 0, rank, 2))
            for sample in takewhile(lambda s: s.position < NUM_IMAGES, samples):
                lanes.append((sample.position % 4, rank, worker))
                names.append(sample.name)
    assert len(set(lanes)) == 4
    assert len(set(names)) == len(names) == NUM_IMAGES


@pytest.mark.parametrize("start", [4, 20, 24, 60])
@pytest.mark.parametrize("window", [1, 5])
def test_a_restart_continues_exactly(stream: Path, start: int, window: int) -> None:
    cfg = config(stream, shuffle_window=window)
    whole = seen(cfg, 20)
    again = seen(cfg, 20 - start // 4, start=start)
    assert equal(again, {p: s for p, s in whole.items() if p >= start})


def test_windows_shuffle_within_the_lane(stream: Path) -> None:
    cfg = config(stream, stream_lanes=1)
    mixed_cfg = replace(cfg, shuffle_window=8)
    plain, mixed = ([name for name, _ in seen(c, 23, batch=1).values()] for c in (cfg, mixed_cfg))
    assert mixed != plain
    assert set(mixed[:8]) == set(plain[:8])


def test_broken_rows_are_replaced_from_their_lane(tmp_path: Path, make: SimpleNamespace) -> None:
    good = [make.encoded(make.photo(i)) for i in range(6)]
    cells = [good[0], None, make.truncated_jpeg(), *good[1:]]
    pq.write_table(pa.table({"jpg": pa.array(cells, pa.binary())}), tmp_path / "s.parquet")
    loader = TrainLoader(open_data(config(tmp_path, stream_lanes=2)), 8, seed=0)
    batch = next(loader.batches())
    reasons = sorted(line.split(": ", 1)[1] for line in set(batch.skipped))
    assert len(reasons) == 2
    assert reasons[1].startswith("no image in this row")
    assert not {"row 1", "row 2"} & {name.split("parquet ")[1] for name in batch.names}
    late = next(TrainLoader(open_data(config(tmp_path, stream_lanes=2)), 4, seed=0).batches(4))
    assert torch.equal(late.images, batch.images[4:])


def test_a_lane_without_any_usable_image_takes_from_elsewhere(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    cells = [make.encoded(make.photo(i)) for i in range(3)] + [make.truncated_jpeg()]
    pq.write_table(pa.table({"jpg": pa.array(cells, pa.binary())}), tmp_path / "s.parquet")
    cfg = config(tmp_path, stream_lanes=4)  # the fourth lane is the broken image alone
    whole = seen(cfg, 3)
    assert len(whole) == 12
    assert {name.split("parquet ")[1] for name, _ in whole.values()} == {"row 0", "row 1", "row 2"}
    assert equal(seen(cfg, 1, start=8), {p: s for p, s in whole.items() if p >= 8})


def test_hold_out_is_the_same_as_without_streaming(stream: Path) -> None:
    cfg = config(stream, validation_count=6)
    data = open_data(cfg)
    inside = [name for name, _ in data.validation.items()]
    trained = {name for name, _ in seen(cfg, 17, batch=1).values()}
    assert len(inside) == 6
    assert len(trained) == len(data.training) == 17
    assert not set(inside) & trained
    table = open_data(replace(cfg, streaming=False))
    assert table.validation.rows.tolist() == data.validation.rows.tolist()
    assert [data for _, data in table.validation.items()] == [
        encoded for _, encoded in data.validation.items()
    ]


def test_shards_are_read_from_any_row(stream: Path, make: SimpleNamespace) -> None:
    images = open_data(config(stream, validation_count=5)).training
    flat = [item for s in range(3) for item in images.items(s, 0)]
    assert len(flat) == len(images) == 18
    for shard in range(3):
        everything = list(images.items(shard, 0))
        assert len(everything) == images.length(shard)
        for start in range(len(everything) + 1):
            assert list(images.items(shard, start)) == everything[start:]
    assert [images.item(i) for i in range(18)] == flat
    assert [images.name(i) for i in range(18)] == [name for name, _ in flat]
    name, data = open_data(config(stream)).training.item(10)
    assert name.endswith("part-1.parquet row 1")
    assert (load_image(data) == load_image(make.photo(10))).all()


def test_hub_data_is_streamed_from_its_shards(stream: Path, tmp_path: Path, make: Any) -> None:
    settings = {"kind": "hub", "streaming": True, "size": 16, "validation_count": 0}
    images = open_data(DataConfig(name=str(stream), **settings)).training
    assert len(images) == NUM_IMAGES
    with pytest.raises(ValueError, match=r"data\.split=test.*\['train'\]"):
        open_data(DataConfig(name=str(stream), split="test", **settings))
    make.tars(tmp_path / "tars", [3, 2])
    assert len(open_data(DataConfig(name=str(tmp_path / "tars"), **settings)).training) == 5
    make.folder(tmp_path / "pngs", 2)
    with pytest.raises(ValueError, match=r"not stored as parquet or tar.*data\.streaming=false"):
        open_data(DataConfig(name=str(tmp_path / "pngs"), **settings))


def test_bad_streams_are_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read"):
        TrainLoader(open_data(config(tmp_path)), 2, seed=0)
    make.shards(tmp_path / "few", [2])
    with pytest.raises(ValueError, match=r"data\.validation_count=2"):
        TrainLoader(open_data(config(tmp_path / "few", validation_count=2)), 2, seed=0)
    with pytest.raises(ValueError, match="none of 2 images tried"):
        TrainLoader(open_data(config(tmp_path / "few", size=256)), 2, seed=0)
