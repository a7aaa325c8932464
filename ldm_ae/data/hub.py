"""Data sets of the Hugging Face hub: as a local copy, or streamed from their shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

import datasets
from huggingface_hub.constants import HF_HUB_CACHE

from ldm_ae.data.config import DataConfig
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.source import Source
from ldm_ae.data.tables import open_table
from ldm_ae.data.tars import open_tars

Loaded = TypeVar("Loaded")


def open_hub(config: DataConfig) -> Source:
    """Raises ValueError for a data set that cannot be had, as `open_table`, and for one to stream
    that is stored neither as parquet nor as tar shards."""
    name, label = cast(str, config.name), f"{config.name}/{config.split}"
    if config.streaming:
        paths = _shard_urls(config, name)
        if paths[0].endswith(".tar"):
            return open_tars(paths, label, config.image_column, "data.name")
        return open_parquet(paths, label, config.image_column, True, "data.name")
    table = cast(
        datasets.Dataset,
        _asked(config, lambda: datasets.load_dataset(name, config.subset, split=config.split)),
    )
    # Loose files: their paths are the builder's, as long as they lie where it puts them.
    loose = table.info.builder_name == "imagefolder"
    places = (HF_HUB_CACHE, str(datasets.config.DOWNLOADED_DATASETS_PATH), name) if loose else ()
    folders = tuple(os.path.realpath(place) for place in places if os.path.isdir(place))
    return open_table(label, table, config.image_column, folders)


def _shard_urls(config: DataConfig, name: str) -> list[str]:
    builder = _asked(config, lambda: datasets.load_dataset_builder(name, config.subset))
    splits = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if config.split not in splits:
        raise ValueError(f"data.split={config.split}: {name} has the splits {sorted(splits)}")
    files = [str(file) for file in splits[config.split]]
    if not any(all(file.endswith(kind) for file in files) for kind in (".parquet", ".tar")):
        raise ValueError(
            f"data.streaming=true: {name} is not stored as parquet or tar shards ({files[0]}): set "
            f"data.streaming=false, or name a parquet version of it"
        )
    return files


def _asked(config: DataConfig, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; every way in which the hub can fail becomes one ValueError."""
    try:
        return load()
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"data.name={config.name} (subset {config.subset}, split {config.split}) cannot be "
            f"loaded from the hub: {error}. Check the name and the network, or download it and "
            f"use data.kind=parquet or data.kind=folder."
        ) from error
