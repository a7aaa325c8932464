"""A store of a few pictures, read by those it was written for."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load
from torch import Tensor

from ldm_ae.store.latent_store import LatentStore

Stores = Mapping[str, Path]


def wanted(stores: Stores) -> dict[str, Tensor]:
    """id -> latents, by our own reader."""
    store = LatentStore(stores["parquet"])
    return {row.id: row.tensor() for row in map(store.row, range(len(store)))}


def verdict(found: Mapping[str, Tensor], stores: Stores) -> dict[str, Any]:
    """Whether ids are the same and latents equal, but for what was computed in another run."""
    expected = wanted(stores)
    same = found.keys() == expected.keys()
    equal = same and all(torch.equal(found[key], expected[key]) for key in expected)
    return {"rows": len(found), "same_ids": same, "equal": equal}


def by_datasets(stores: Stores, scratch: Path) -> dict[str, Any]:
    datasets = importlib.import_module("datasets")
    table = datasets.load_dataset(
        "parquet",
        data_files=str(stores["parquet"] / "*.parquet"),
        split="train",
        cache_dir=str(scratch / "cache"),
    )
    return verdict({row["id"]: load(row["latents"])["latents"] for row in table}, stores)


def by_webdataset(stores: Stores, scratch: Path) -> dict[str, Any]:
    webdataset = importlib.import_module("webdataset")
    shards = sorted(map(str, stores["tar"].glob("*.tar")))
    found = {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        found[json.loads(sample["json"])["id"]] = load(sample["safetensors"])["latents"]
    return verdict(found, stores)


def by_file_names(stores: Stores, scratch: Path) -> dict[str, Any]:
    """As kohya's trainers find a picture's latents: by its name and size, then by the key."""
    found = {}
    for key, size, crop in _pictures(stores):
        width, height = size
        path = stores["files"] / f"{key}_{width:04d}x{height:04d}_ldm_ae.safetensors"
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            assert [int(metadata["width"]), int(metadata["height"])] == size
            (name,) = (n for n in sorted(file.keys()) if n.startswith("latents_"))
            place = name.removeprefix("latents_").rpartition("_")[0]
            assert list(map(int, metadata[f"crop_ltrb_{place}"].split(","))) == crop
            found[key] = file.get_tensor(name)
    return verdict(found, stores)


def _pictures(stores: Stores) -> list[tuple[str, list[int], list[int]]]:
    store = LatentStore(stores["parquet"])
    rows = map(store.row, range(len(store)))
    return [(row.source, row.said["original"], row.said["crop"]) for row in rows]


def _if_installed(package: str, read: Callable[..., Any]) -> Callable[..., Any] | None:
    return read if importlib.util.find_spec(package) is not None else None


READERS = {
    "datasets": _if_installed("datasets", by_datasets),
    "WebDataset": _if_installed("webdataset", by_webdataset),
    "kohya's names and keys": by_file_names,
}
