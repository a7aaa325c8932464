import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load

from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.engines import RowEncoder, encode_with_ray
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.rows import SCHEMA, Row
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import ModelChoice


def assert_equal_rows(found: list[Row], wanted: list[Row]) -> None:
    """Ids and metadata to the letter, latents to what batches change."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.tensor(), other.tensor(), atol=1e-5, rtol=1e-5)
        assert one.channel_mean == pytest.approx(other.channel_mean, abs=1e-5)
        bare = {"latents": b"", "channel_mean": [], "channel_std": []}
        assert replace(one, **bare) == replace(other, **bare)


@pytest.fixture
def wanted(make_job, tmp_path: Path) -> list[Row]:
    encode_dataset(make_job(), tmp_path / "out", threads=1)
    store = LatentStore(tmp_path / "out")
    return [store.row(number) for number in range(len(store))]


def test_datasets_map_gives_the_same_rows(make_job, wanted: list[Row]) -> None:
    job = make_job()
    rows = datasets.Dataset.from_dict({"row": range(len(job.open_source()))}).map(
        RowEncoder(job),
        batched=True,
        batch_size=3,
        with_rank=True,
        remove_columns="row",
        features=datasets.Features.from_arrow_schema(SCHEMA),
    )
    assert_equal_rows([Row(**cells) for cells in rows], wanted)


def test_broken_pictures_have_no_row(make_job, photos: Path, caplog) -> None:
    (photos / "dog" / "5.png").write_bytes(b"")
    found = RowEncoder(make_job())({"row": [4, 5, 6]})
    assert found["id"] == ["dog/4.png", "dog/6.png"]
    assert "left out: dog/5.png" in caplog.text


def test_datasets_reads_a_store(wanted: list[Row], tmp_path: Path) -> None:
    files = str(tmp_path / "out" / "*.parquet")
    table = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache"))
    assert table["id"] == [row.id for row in wanted]
    assert torch.equal(load(table[3]["latents"])["latents"], wanted[3].tensor())
    assert json.loads(table[3]["protocol"])["crop"] == wanted[3].said["crop"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.filterwarnings("ignore")  # ray's own
def test_a_local_ray_gives_the_same_rows(make_job, wanted: list[Row], tmp_path: Path) -> None:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        encode_with_ray(make_job(), tmp_path / "ray", actors=2, num_cpus=0.5)
        pictures = [np.full((16, 16, 3), shade, np.uint8) for shade in (0, 99)]
        encoder = LatentEncoder(ModelChoice(make_job().model.folder))
        encoded = ray.data.from_items([{"image": picture} for picture in pictures]).map_batches(
            LatentEncoder, fn_constructor_args=(encoder.choice,), concurrency=1, num_cpus=0.5
        )
        latents = sorted(row["latents"] for row in encoded.take_all())
    finally:
        ray.shutdown()
    for one, other in zip(latents, sorted(encoder({"image": pictures})["latents"]), strict=True):
        torch.testing.assert_close(load(one)["latents"], load(other)["latents"])
    store = LatentStore(tmp_path / "ray")
    found = sorted((store.row(n) for n in range(len(store))), key=lambda row: row.id)
    assert_equal_rows(found, wanted)


@pytest.mark.skipif(
    importlib.util.find_spec("webdataset") is None, reason="webdataset is not installed"
)
@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_tar_shards(make_job, wanted: list[Row], tmp_path: Path) -> None:
    import webdataset

    encode_dataset(make_job(layout="tar"), tmp_path / "tar", threads=1)
    shards = sorted(map(str, (tmp_path / "tar").glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == [row.id for row in wanted]
    assert samples[0]["txt"].decode() == wanted[0].caption
    for sample, row in zip(samples, wanted, strict=True):
        assert torch.equal(load(sample["safetensors"])["latents"], row.tensor())
