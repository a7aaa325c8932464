from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ldm_ae.bench.encode_dataset import (
    Bench,
    coded_bytes,
    compare,
    digest,
    rows_of,
    supply,
)
from ldm_ae.bench.encode_dataset_readers import READERS
from ldm_ae.bench.forked import killed_after, started
from ldm_ae.store.job import Job
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import ModelChoice, Storage


def test_a_subset_keeps_bytes_and_labels(tmp_path: Path, job: Job) -> None:
    assert job.data.path is not None
    rows = pq.read_table(str(job.data.path)).to_pylist()
    wanted = [path.read_bytes() for path in sorted((tmp_path / "photos").iterdir())[:4]]
    assert [row["image"]["bytes"] for row in rows] == wanted


def test_killed_runs_and_what_they_are_compared_with(tmp_path: Path, job: Job) -> None:
    bench = Bench(job, tmp_path)
    said = bench.run("untouched")
    assert said["crops"] == 4 and 0 < said["encoder_busy"] <= 1
    folders = bench.run_killed(2, 0.1, seed=0)
    assert {digest(folder) for folder in folders} == {digest(tmp_path / "untouched")}
    wanted = rows_of(tmp_path / "untouched")
    assert compare(wanted, wanted) == {
        "same_ids": True,
        "same_metadata": True,
        "largest_difference": 0.0,
        "within_tolerance": True,
    }
    assert not compare(wanted[::-1], wanted)["same_ids"]
    assert not compare(wanted[::-1], wanted)["within_tolerance"]


def test_the_supply_needs_no_network(job: Job) -> None:
    assert supply(replace(job, model=ModelChoice("nowhere")), 3) > 0


def test_a_process_that_fails_is_no_kill() -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        killed_after(started(divmod, 1, 0), 60)


def test_readers_see_the_same_latents(tmp_path: Path, job: Job) -> None:
    plain = replace(job, storage=Storage())
    stores = {layout: tmp_path / layout for layout in ("parquet", "tar", "files")}
    for layout, folder in stores.items():
        encode_dataset(replace(plain, layout=layout), folder, threads=1)
    read = {name: reader(stores, tmp_path) for name, reader in READERS.items() if reader}
    assert set(read) >= {"datasets", "kohya's names and keys"}
    encode_dataset(replace(job, storage=Storage("coded")), tmp_path / "coded", threads=1)
    found = coded_bytes(tmp_path / "coded", tmp_path / "parquet")
    assert found["bits_per_value"] == pytest.approx(8 * found["of_int8"])
    assert found["bytes_per_picture"] == pytest.approx(found["of_int8"] * 4 * 8 * 8)
    for verdict in read.values():
        assert verdict == {"rows": 4, "same_ids": True, "equal": True}
