"""What a run leaves in a store, what it costs to run again, and what it refuses."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ldm_ae.data.config import DataConfig
from ldm_ae.errors import UserError
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.settings import Storage
from ldm_ae.store.views import Views


def test_a_folder_with_captions_and_classes(make_job, encode, tmp_path: Path) -> None:
    outcome = encode(make_job())
    assert (outcome.pictures, outcome.encoded, outcome.left_out) == (8, 8, {})
    assert 0 < outcome.busy <= 1
    store = LatentStore(tmp_path / "out")
    rows = [store.row(number) for number in range(len(store))]
    assert [row.id for row in rows] == [f"cat/{n}.png" for n in range(4)] + [
        f"dog/{n}.png" for n in range(4, 8)
    ]
    assert [row.label for row in rows] == ["cat"] * 4 + ["dog"] * 4
    assert [row.caption for row in rows[2:5]] == ["cat number 2", "cat number 3", None]
    assert rows[1].said["crop"] == [24, 0, 56, 32] and rows[1].said["original"] == [80, 32]
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert shards == ["shard-00000.parquet", "shard-00001.parquet", "shard-00002.parquet"]


def test_statistics_are_of_all_latents(make_job, encode, tmp_path: Path) -> None:
    encode(make_job(views=Views("buckets", size=16, bucket_step=8)))
    store = LatentStore(tmp_path / "out")
    flat = torch.cat([store[n]["latents"].flatten(1) for n in range(len(store))], dim=1).double()
    summary = store.summary()
    assert summary["channel_mean"] == pytest.approx(flat.mean(dim=1).tolist(), abs=1e-6)
    assert summary["channel_std"] == pytest.approx(flat.std(1, correction=0).tolist(), abs=1e-6)
    assert summary["std"] == pytest.approx(float(flat.std(correction=0)), abs=1e-6)
    assert summary["num_rows"] == 8 and len(store.by_size()) == 2


def test_a_change_costs_what_changed(
    layout: str,
    make_job,
    encode,
    contents,
    photos: Path,
    tmp_path: Path,
    save_picture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(layout=layout, views=Views(size=16, flip=True))
    encode(job)
    before = contents(tmp_path / "out")
    assert encode(job).encoded == 0 and contents(tmp_path / "out") == before
    save_picture(photos / "cat" / "2.png", 22)  # edited
    (photos / "dog" / "5.png").unlink()
    save_picture(photos / "ant.png", 23)
    (photos / "cat" / "0.txt").write_text("another caption")
    seen = []
    encode_as_before = LatentEncoder.encode
    monkeypatch.setattr(
        LatentEncoder,
        "encode",
        lambda self, images: seen.append(len(images)) or encode_as_before(self, images),
    )
    assert encode(job).encoded == sum(seen) == 4
    monkeypatch.undo()
    encode(job, "fresh")
    updated, fresh = (LatentStore(tmp_path / name) for name in ("out", "fresh"))
    rows = [{s.row(n).id: s.row(n) for n in range(len(s))} for s in (updated, fresh)]
    assert rows[0].keys() == rows[1].keys() and "dog/5.png" not in rows[0]
    for key, row in rows[0].items():
        other = rows[1][key]
        assert replace(row, latents=b"", channel_mean=[], channel_std=[]) == replace(
            other, latents=b"", channel_mean=[], channel_std=[]
        )
        torch.testing.assert_close(row.tensor(), other.tensor(), atol=1e-5, rtol=1e-5)
    assert rows[0]["cat/0.png"].caption == "another caption"
    assert len(list((tmp_path / "out").rglob("*5_*.safetensors"))) == 0


def test_all_pictures_gone_leave_an_empty_store(
    make_job, encode, ids, photos: Path, tmp_path: Path
) -> None:
    encode(make_job())
    shutil.rmtree(photos / "dog")
    encode(make_job())
    assert ids(tmp_path / "out") == [f"cat/{n}.png" for n in range(4)]
    assert len(list((tmp_path / "out" / ".store").glob("0*.json"))) == 2


def test_two_processes_make_the_same_store(make_job, encode, contents, tmp_path: Path) -> None:
    encode(make_job())
    outcome = encode(make_job(), "two", processes=2)
    assert outcome.encoded == 8 and outcome.processes == 2
    assert contents(tmp_path / "two") == contents(tmp_path / "out")


def test_what_a_process_raises_comes_out_here(make_job, encode, tmp_path: Path) -> None:
    job = make_job(storage=Storage("coded"), model="kl_v1")
    broken = tmp_path / "broken"
    shutil.copytree(job.model.folder, broken)
    job = replace(job, model=replace(job.model, folder=broken))
    with pytest.raises(UserError, match="no.*prior|prior"):
        (broken / "prior.safetensors").unlink()
        encode(job, processes=2)


def test_broken_pictures_are_left_out_until_they_change(
    make_job, encode, ids, photos: Path, tmp_path: Path
) -> None:
    good = (photos / "cat" / "1.png").read_bytes()
    (photos / "cat" / "1.png").write_bytes(good[:60])
    (photos / "cat" / "x.png").symlink_to(photos / "nothing.png")
    for _ in range(2):
        outcome = encode(make_job())
        assert list(outcome.left_out) == ["cat/1.png"] and outcome.pictures == 8
    assert len(ids(tmp_path / "out")) == 7
    (photos / "cat" / "1.png").write_bytes(good)
    assert encode(make_job()).left_out == {}
    assert len(ids(tmp_path / "out")) == 8


def test_another_job_is_refused_and_changes_nothing(
    make_job, encode, contents, photos: Path, tmp_path: Path
) -> None:
    encode(make_job())
    before = contents(tmp_path / "out")
    others = {
        "storage.dtype was float32, now bfloat16": make_job(storage=Storage(dtype="bfloat16")),
        "views.size was 16, now 8": make_job(views=Views(size=8)),
        "model.sha256": make_job("vq_v1"),
        "images.place": make_job(data=DataConfig(path=str(photos / "cat"))),
        "layout": make_job(layout="tar"),
    }
    for message, job in others.items():
        with pytest.raises(UserError, match="is the store of another job") as refused:
            encode(job)
        assert message in str(refused.value)
    assert contents(tmp_path / "out") == before
    assert encode(make_job(batch_size=5)).encoded == 0, "batches are no other job"
    (tmp_path / "out" / ".store" / "job.json").unlink()
    with pytest.raises(UserError, match="has shards and no"):
        encode(make_job())


def test_tables_bring_their_columns(make_job, encode, photos: Path, tmp_path: Path) -> None:
    pictures = sorted(photos.rglob("*.png"))
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in pictures]
    table = pa.table({"image": cells, "label": list(range(8)), "text": [f"t{n}" for n in range(8)]})
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=3)
    data = DataConfig(kind="parquet", path=str(tmp_path / "set.parquet"), streaming=True)
    encode(make_job(data=data))
    store = LatentStore(tmp_path / "out")
    assert [store[n]["label"] for n in range(8)] == list("01234567")
    assert store[5]["caption"] == "t5" and store[5]["id"] == "set/0000005"
    encode(make_job(), "folder")
    other = LatentStore(tmp_path / "folder")
    for number in range(8):
        assert torch.equal(store[number]["latents"], other[number]["latents"])


def test_two_pictures_of_one_name(make_job, encode, photos: Path) -> None:
    shutil.copy(photos / "cat" / "1.png", photos / "cat" / "1.jpg")
    encode(make_job(), "shards")
    with pytest.raises(UserError, match="would have one file: rename one"):
        encode(make_job(layout="files"))


def test_names_that_only_dots_keep_apart(
    make_job, encode, tmp_path: Path, save_picture: Callable[[Path, int], None]
) -> None:
    (tmp_path / "lists" / "x").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    save_picture(tmp_path / "x" / "1.png", 0)
    save_picture(tmp_path / "lists" / "x" / "1.png", 2)
    listed = tmp_path / "lists" / "all.txt"
    listed.write_text("x/1.png\n../x/1.png\n")
    with pytest.raises(UserError, match="would have one file: rename one"):
        encode(make_job(layout="files", data=DataConfig(path=str(listed)), shard_size=1))


def test_settings_that_do_not_fit(make_job, encode, tmp_path: Path) -> None:
    for job, options, message in (
        (make_job(views=Views(size=15)), {}, "size 15: the model takes multiples of 2"),
        (make_job(), {"processes": 0}, "processes 0"),
    ):
        with pytest.raises(UserError, match=message):
            encode(job, **options)
    with pytest.raises(UserError, match="a file holds one"):
        make_job(layout="files", views=Views("random", size=16, count=2))
    with pytest.raises(UserError, match="files hold latents, not coded"):
        make_job(layout="files", storage=Storage("coded"))
    with pytest.raises(UserError, match="shard size 0"):
        make_job(shard_size=0)
    assert not (tmp_path / "out").exists()


def test_random_crops_are_rows_of_their_own(make_job, encode, ids, tmp_path: Path) -> None:
    encode(make_job(views=Views("random", size=16, count=3, flip=True)))
    found = ids(tmp_path / "out")
    assert len(found) == 48 == len(set(found))
    assert found[:6] == [
        "cat/0.png" + s for s in ("", "#flipped", "#1", "#1#flipped", "#2", "#2#flipped")
    ]
    assert (
        np.unique([len(LatentStore(tmp_path / "out").row(n).latents) for n in range(6)]).size == 1
    )
