from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.data.config import DataConfig
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data


@pytest.fixture
def photos(tmp_path: Path, make: SimpleNamespace) -> Path:
    return make.folder(tmp_path / "photos", 10)


def config(path: Path, **settings: Any) -> DataConfig:
    return DataConfig(
        path=str(path), **{"size": 16, "num_workers": 0, "validation_count": 0, **settings}
    )


def make_train_loader(
    config: DataConfig, batch_size: int, seed: int, start_position: int = 0, **settings: Any
) -> Iterator[Batch]:
    return TrainLoader(open_data(config), batch_size, seed, **settings).batches(start_position)


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(islice(batches, count))


def same(left: Batch, right: Batch) -> bool:
    return (
        torch.equal(left.images, right.images)
        and torch.equal(left.keys, right.keys)
        and left.names == right.names
    )


def test_batches_hold_what_they_say(photos: Path) -> None:
    batch = take(make_train_loader(config(photos), 4, seed=0), 1)[0]
    assert batch.images.shape == (4, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert -1 <= batch.images.min() < -0.1 < 0.1 < batch.images.max() <= 1
    assert batch.keys.tolist() == [0, 1, 2, 3]
    assert batch.skipped == []


def test_keys_stay_where_they_are_read(photos: Path) -> None:
    batch = take(make_train_loader(config(photos), 2, seed=0, device="meta"), 1)[0]
    assert batch.images.device.type == "meta"
    assert batch.keys.tolist() == [0, 1]


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_follow_the_config(photos: Path, channels: Any) -> None:
    batch = take(make_train_loader(config(photos, channels=channels), 2, seed=0), 1)[0]
    assert batch.images.shape == (2, channels, 16, 16)


def test_every_epoch_visits_each_image_once_in_a_new_order(photos: Path) -> None:
    names = [n for b in take(make_train_loader(config(photos), 4, seed=3), 5) for n in b.names]
    assert len(set(names[:10])) == len(set(names[10:])) == 10
    assert names[:10] != names[10:]
    other = [n for b in take(make_train_loader(config(photos), 4, seed=4), 5) for n in b.names]
    assert other != names


def test_two_ranks_see_what_one_with_the_double_batch_sees(photos: Path) -> None:
    whole = take(make_train_loader(config(photos), 6, seed=0), 5)
    ranks = [
        take(make_train_loader(config(photos), 3, seed=0, rank=r, world_size=2), 5)
        for r in range(2)
    ]
    for one, left, right in zip(whole, *ranks, strict=True):
        assert torch.equal(one.images, torch.cat([left.images, right.images]))
        assert torch.equal(one.keys, torch.cat([left.keys, right.keys]))
        assert one.names == left.names + right.names


def test_a_restart_continues_exactly(photos: Path) -> None:
    whole = take(make_train_loader(config(photos), 3, seed=0, rank=1, world_size=2), 8)
    for done in (1, 5):  # the second lies in a later epoch
        again = make_train_loader(
            config(photos), 3, seed=0, rank=1, world_size=2, start_position=done * 6
        )
        assert all(map(same, take(again, 8 - done), whole[done:]))


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # few cores
@pytest.mark.parametrize(("workers", "cache_mb"), [(0, 512), (1, 512), (3, 0)])
def test_workers_and_cache_change_nothing(photos: Path, workers: int, cache_mb: int) -> None:
    (photos / "broken.png").write_bytes(b"")
    plain = take(make_train_loader(config(photos, cache_mb=0), 4, seed=0), 6)
    settings = {"num_workers": workers, "cache_mb": cache_mb}
    other = take(make_train_loader(config(photos, **settings), 4, seed=0), 6)
    assert all(map(same, plain, other))
    assert [b.skipped for b in plain] == [b.skipped for b in other]
    assert any(b.skipped for b in plain)


def test_the_run_s_random_numbers_are_left_alone(photos: Path) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    take(make_train_loader(config(photos, num_workers=1), 4, seed=0), 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_broken_and_small_images_are_replaced_and_named(
    photos: Path, make: SimpleNamespace
) -> None:
    (photos / "cut.jpg").write_bytes(make.truncated_jpeg())
    make.photo(50, 100, 15).save(photos / "small.png")
    settings = {"crop": "random", "cache_mb": 0}
    batches = take(make_train_loader(config(photos, **settings), 4, seed=0), 9)  # three epochs
    skipped = [line for b in batches for line in b.skipped]
    assert {line.split(":")[0] for line in skipped} == {"cut.jpg", "small.png"}
    assert sum("100x15 is too small" in line for line in skipped) >= 3
    assert all(len(b.names) == 4 for b in batches)
    assert not {"cut.jpg", "small.png"} & {n for b in batches for n in b.names}
    assert [k for b in batches for k in b.keys.tolist()] == list(range(36))
    again = make_train_loader(config(photos, **settings), 4, seed=0, start_position=16)
    assert all(map(same, take(again, 5), batches[4:]))


def test_no_usable_image_stops_before_anything_is_built(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(make.truncated_jpeg())
    with pytest.raises(ValueError, match=r"none of 3 images tried.*0\.jpg"):
        TrainLoader(open_data(config(tmp_path)), 2, seed=0)
    with pytest.raises(ValueError, match="no such folder"):
        make_train_loader(config(tmp_path / "gone"), 2, seed=0)


def test_cache_is_used_only_where_it_fits(photos: Path) -> None:
    assert len(TrainLoader(open_data(config(photos, cache_mb=1)), 2, seed=0).views.cache) == 10
    assert TrainLoader(open_data(config(photos, cache_mb=0)), 2, seed=0).views.cache == []


def test_bad_ranks_and_positions_are_refused(photos: Path) -> None:
    for settings in ({"rank": 2, "world_size": 2}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="="):
            TrainLoader(open_data(config(photos)), **{"batch_size": 2, "seed": 0, **settings})
    with pytest.raises(ValueError, match="start_position=-1"):
        next(TrainLoader(open_data(config(photos)), 2, seed=0).batches(-1))


def test_parquet_gives_the_same_photos_as_files(tmp_path: Path, make: SimpleNamespace) -> None:
    make.shards(tmp_path / "p", [4, 3])
    settings = {"kind": "parquet", "crop": "random", "size": 40, "flip": False}
    batch = take(make_train_loader(config(tmp_path / "p", **settings), 7, seed=0), 1)[0]
    rows = {int(name.split()[-1]) for name in batch.names}
    assert rows == set(range(7))


def test_shared_photos_load(shared_dir: Path) -> None:
    loader = TrainLoader(
        open_data(config(shared_dir / "data" / "photos", size=64, cache_mb=0)), 8, seed=0
    )
    assert loader.num_images == 901
    assert take(loader.batches(), 2)[1].images.std() > 0.2


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_files_with_further_frames_are_told(
    kind: Any, photos: Path, tmp_path: Path, make: SimpleNamespace
) -> None:
    frames = make.encoded(make.photo(20), "GIF", save_all=True, append_images=[make.photo(21)])
    (photos / "moving.gif").write_bytes(frames)
    if kind == "tar":
        members = [(path.name, path.read_bytes()) for path in sorted(photos.glob("*.*"))]
        make.tar(tmp_path / "s.tar", members)
    place = photos if kind == "folder" else tmp_path / "s.tar"
    cfg = config(place, kind=kind, streaming=kind == "tar")
    (batch,) = take(make_train_loader(cfg, 11 if kind == "folder" else 6, seed=0), 1)
    assert [name.split()[-1] for name in batch.cut] == ["moving.gif"]
