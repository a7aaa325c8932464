"""From a config to the images that a run trains on and is judged by: opened once, and shared.

A new kind of source has its opener here and its name in `SourceKind`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from ldm_ae.data.config import DataConfig, SourceKind
from ldm_ae.data.folder import EMBEDDED_TRAIN, EMBEDDED_VALIDATION, open_embedded, open_folder
from ldm_ae.data.hub import open_hub
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.paths import shard_paths
from ldm_ae.data.source import Chosen, Source, TrainingImages
from ldm_ae.data.tars import open_tars


def _folder(config: DataConfig, key: str) -> Source:
    return open_folder(Path(cast(str, config.path)), key)


def _parquet(config: DataConfig, key: str) -> Source:
    path = cast(str, config.path)
    shards = shard_paths(path, ".parquet", key)
    return open_parquet(shards, path, config.image_column, config.streaming, key)


def _tar(config: DataConfig, key: str) -> Source:
    path = cast(str, config.path)
    return open_tars(shard_paths(path, ".tar", key), path, config.image_column, key)


OPENERS: dict[SourceKind, Callable[[DataConfig, str], Source]] = {
    "folder": _folder,
    "parquet": _parquet,
    "tar": _tar,
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

    Raises ValueError for a missing path, an empty source, a table without a clear image
    column, a data set that cannot be had, and a hold-out that leaves nothing.
    """
    source = OPENERS[config.kind](config, "data.path")
    count = config.validation_count
    if config.validation_path is None and config.kind != "embedded":
        if count >= len(source):
            raise ValueError(
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
        streaming=False,
    )
    return OPENERS[own.kind](own, "data.validation_path")
