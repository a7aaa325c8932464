"""From a config to the images that a run trains on and is judged by: opened once, and shared.

A new kind of source has its opener here and its name in `SourceKind`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ldm_ae.data.config import DataConfig, SourceKind
from ldm_ae.data.folder import EMBEDDED_TRAIN, EMBEDDED_VALIDATION, open_embedded, open_folder
from ldm_ae.data.formats import is_image_name
from ldm_ae.data.hub import open_hub
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.paths import listed, shard_paths
from ldm_ae.data.source import Chosen, Source, TrainingImages
from ldm_ae.data.tables import is_saved, open_saved
from ldm_ae.data.tars import open_tars
from ldm_ae.data.walk import walk
from ldm_ae.errors import UserError


def _folder(config: DataConfig, key: str) -> Source:
    try:
        return open_folder(config.places, config.label, key)
    except UserError as error:
        kind = _kind_of(config.label)
        raise UserError(f"{error}" + (f". Set data.kind={kind}" if kind else "")) from error


def _kind_of(path: str) -> SourceKind | None:
    """Which other kind a path without images is of."""
    if is_saved(Path(path)):
        return "arrow"
    names = [path, *(file.name for file in walk(Path(path)).files)]
    found = [kind for kind in SHARDS if any(name.endswith(f".{kind}") for name in names)]
    return found[0] if found else None


def kind_of(path: str) -> SourceKind:
    """The kind of what lies at a path: a folder where there are images, or nothing else."""
    if path.startswith("hub:"):
        return "hub"
    if any(is_image_name(file) for file in walk(Path(path)).files):
        return "folder"
    return _kind_of(path) or "folder"


def _parquet(config: DataConfig, key: str) -> Source:
    shards = shard_paths(config.places, ".parquet", key)
    return open_parquet(shards, config.label, config.image_column, config.streaming, key)


def _tar(config: DataConfig, key: str) -> Source:
    shards = shard_paths(config.places, ".tar", key)
    return open_tars(shards, config.label, config.image_column, key, 4 * config.max_pixels)


def _arrow(config: DataConfig, key: str) -> Source:
    root, places = listed(config.places, key)
    folders = [os.path.join(root, place) for place in places]
    return open_saved(folders, config.split, config.label, config.image_column, key)


SHARDS: tuple[SourceKind, ...] = ("tar", "parquet")
OPENERS: dict[SourceKind, Callable[[DataConfig, str], Source]] = {
    "folder": _folder,
    "parquet": _parquet,
    "tar": _tar,
    "arrow": _arrow,
    "hub": lambda config, _: open_hub(config),
    "embedded": lambda _, __: open_embedded(EMBEDDED_TRAIN),
}


@dataclass(frozen=True)
class Data:
    """The images of a config."""

    config: DataConfig
    training: TrainingImages
    validation: Chosen


def open_data(config: DataConfig) -> Data:
    """Open the sources of a config.

    Raises UserError for a missing path, an empty source, a table without a clear image
    column, a data set that cannot be had, and a hold-out that leaves nothing.
    """
    source = OPENERS[config.kind](config, "data.path")
    count = config.validation_count
    if config.validation_path is None and config.kind != "embedded":
        if count >= len(source):
            raise UserError(
                f"data.validation_count={count} would hold out all {len(source)} images of"
                f" {source.label}: lower it or set data.validation_path"
            )
        rows = source.held_out(count)
        return Data(config, TrainingImages(source, rows), Chosen(source, rows))
    judging = _judging_source(config)
    rows = np.arange(len(judging))
    if config.validation_path is not None and 0 < count < len(judging):
        rows = judging.held_out(count)
    nothing = np.arange(0)
    return Data(config, TrainingImages(source, nothing), Chosen(judging, rows))


def _judging_source(config: DataConfig) -> Source:
    """The source that is for validation alone."""
    if config.validation_path is None:
        return open_embedded(EMBEDDED_VALIDATION)
    own = replace(
        config,
        kind=config.validation_kind or config.kind,
        path=config.validation_path,
        name=None,
        subset=None,
        streaming=False,
    )
    return OPENERS[own.kind](own, "data.validation_path")
