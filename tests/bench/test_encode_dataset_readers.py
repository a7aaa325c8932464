"""What the readers of a store say of it where it is not what it should be."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ldm_ae.bench.encode_dataset_readers import Stores, by_file_names, verdict, wanted
from ldm_ae.store.job import Job
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import Storage
from ldm_ae.store.views import Views


@pytest.fixture
def stores(job: Job, tmp_path: Path) -> Stores:
    """Of four pictures, by layout."""
    folders = {layout: tmp_path / layout for layout in ("parquet", "files")}
    for layout, folder in folders.items():
        encode_dataset(replace(job, storage=Storage(), layout=layout), folder, threads=1)
    return folders


def test_a_reader_that_sees_other_latents_or_pictures_is_told_of(stores: Stores) -> None:
    right = wanted(stores)
    first, *_ = sorted(right)
    assert verdict(right, stores) == {"rows": 4, "same_ids": True, "equal": True}
    wrong = {**right, first: right[first] + torch.eye(8, dtype=right[first].dtype)}
    assert verdict(wrong, stores) == {"rows": 4, "same_ids": True, "equal": False}
    fewer = {key: value for key, value in right.items() if key != first}
    assert verdict(fewer, stores) == {"rows": 3, "same_ids": False, "equal": False}
    renamed = {**fewer, "another": right[first]}
    assert verdict(renamed, stores) == {"rows": 4, "same_ids": False, "equal": False}


def test_files_of_other_latents_are_told_of(stores: Stores, job: Job, tmp_path: Path) -> None:
    coarse = replace(job, storage=Storage(), layout="files", views=Views(size=8))
    encode_dataset(coarse, tmp_path / "coarse", threads=1)
    found = by_file_names({**stores, "files": tmp_path / "coarse"}, tmp_path)
    assert found == {"rows": 4, "same_ids": True, "equal": False}


@pytest.mark.parametrize(("key", "value"), [("width", "63"), ("crop_ltrb_8x8", "0,0,63,64")])
def test_a_trainer_would_trip_over_metadata_that_are_wrong(
    key: str, value: str, stores: Stores, tmp_path: Path
) -> None:
    path = min(stores["files"].rglob("*.safetensors"))
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert key in metadata
    save_file(load_file(path), path, {**metadata, key: value})
    with pytest.raises(AssertionError):
        by_file_names(stores, tmp_path)


def test_a_trainer_finds_no_file_of_another_name(stores: Stores, tmp_path: Path) -> None:
    path = min(stores["files"].rglob("*.safetensors"))
    path.rename(path.with_name(path.name.replace("0064x0064", "064x064")))
    with pytest.raises(FileNotFoundError):
        by_file_names(stores, tmp_path)
