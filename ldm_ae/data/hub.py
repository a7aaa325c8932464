"""Data sets of the Hugging Face hub: as a local copy, or streamed from their shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

import datasets
from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE

from ldm_ae.data.config import DataConfig
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.source import Source
from ldm_ae.data.tables import open_tables, require_cache
from ldm_ae.data.tars import open_tars
from ldm_ae.errors import UserError
from ldm_ae.hub import first_contact, is_offline

Loaded = TypeVar("Loaded")


def open_hub(config: DataConfig) -> Source:
    """Raises UserError for a data set that cannot be had, as `open_tables`, and for one to stream
    that is stored neither as parquet nor as tar shards."""
    name, label = cast(str, config.name), f"{config.name}/{config.split}"
    require_cache()
    if not (is_offline() or os.path.exists(name)):
        api = HfApi()
        first_contact(f"data.name={name}", lambda limit: api.dataset_info(name, timeout=limit))
    splits = _files(config, name)
    files = splits.get(config.split, [])  # none of `train[:10%]`, say
    if files and all(file.endswith(".parquet") for file in files):
        return open_parquet(files, label, config.image_column, config.streaming, "data.name")
    if config.streaming:
        if not files:
            raise UserError(f"data.split={config.split}: {name} has the splits {sorted(splits)}")
        if all(file.endswith(".tar") for file in files):
            return open_tars(files, label, config.image_column, "data.name", 4 * config.max_pixels)
        raise UserError(
            f"data.streaming=true: {name} is not stored as parquet or tar shards ({files[0]}): set "
            f"data.streaming=false, or name a parquet version of it"
        )
    table = cast(
        datasets.Dataset,
        _asked(config, lambda: datasets.load_dataset(name, config.subset, split=config.split)),
    )
    # Loose files: their paths are the builder's, as long as they lie where it puts them.
    loose = table.info.builder_name == "imagefolder"
    places = (HF_HUB_CACHE, str(datasets.config.DOWNLOADED_DATASETS_PATH), name) if loose else ()
    folders = tuple(os.path.realpath(place) for place in places if os.path.isdir(place))
    return open_tables(label, {label: table}, config.image_column, folders)


def _files(config: DataConfig, name: str) -> dict[str, list[str]]:
    """The files or URLs of each split."""
    builder = _asked(config, lambda: datasets.load_dataset_builder(name, config.subset))
    files = builder.config.data_files or {}
    return {str(split): [str(file) for file in found] for split, found in files.items()}


def _asked(config: DataConfig, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; every way in which the hub can fail becomes one UserError."""
    try:
        return load()
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"data.name={config.name} (subset {config.subset}, split {config.split}) cannot be "
            f"loaded from the hub: {' '.join(str(error).split())}. Check the name and the network,"
            " or download it and use data.kind=parquet or data.kind=folder."
        ) from error
