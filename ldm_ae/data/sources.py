"""Image sources with random access: folders, parquet, tar, hub data sets, embedded photos.

Each becomes an `ImageTable`: encoded images by index. Streams are in `ldm_ae.data.streams`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, cast

import datasets
import numpy as np
import skimage

from ldm_ae.data.columns import DatasetRows, find_image_column
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError
from ldm_ae.data.parquet import open_parquet
from ldm_ae.data.paths import find_images, shard_paths
from ldm_ae.data.randomness import held_out_by_index, held_out_by_name
from ldm_ae.data.tars import index_tars, tar_rows

Part = Literal["train", "validation"]

# Colour photos inside scikit-image's wheel, none of them fetched. The stereo pair (motorcycle)
# is on the training side as a whole.
EMBEDDED_TRAIN = (
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
EMBEDDED_VALIDATION = ("chelsea.png", "coffee.png")

_MAX_TRIED = 1000


class Rows(Protocol):
    """Encoded images by row."""

    def name(self, row: int) -> str: ...

    def read(self, row: int) -> str | bytes:
        """The encoded image, or the path of its file. Raises BrokenImageError if there is none."""
        ...


@dataclass(frozen=True)
class ImageTable:
    """Encoded images by index; `len`, `name` and `read` are all that a loader needs.

    label: what to call the source in messages
    rows: the rows of the source that belong to this part, in order
    lasting_names: of all rows, where they stay as images are added; what is held out follows them
    """

    label: str
    source: Rows
    rows: np.ndarray
    lasting_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.source.name(int(self.rows[index]))

    def read(self, index: int) -> str | bytes:
        """As `Rows.read`."""
        return self.source.read(int(self.rows[index]))


def open_table(config: DataConfig, part: Part) -> ImageTable:
    """The training or the validation images of `config`.

    Raises ValueError for a missing path, an empty source, a table without a clear image
    column, a data set that cannot be had, and a hold-out that leaves nothing.
    """
    if part == "validation" and config.validation_path is not None:
        own = replace(
            config,
            kind=config.validation_kind or config.kind,
            path=config.validation_path,
            streaming=False,
        )
        return _first_by_hash(_open_whole(own, "data.validation_path"), config.validation_count)
    if config.kind == "embedded":
        return _embedded(EMBEDDED_TRAIN if part == "train" else EMBEDDED_VALIDATION)
    whole = _open_whole(config, "data.path")
    if config.validation_path is not None:
        return whole
    count = config.validation_count
    check_hold_out(count, len(whole), whole.label)
    held_out = _held_out(whole, count)
    rows = held_out if part == "validation" else np.setdiff1d(whole.rows, held_out)
    return replace(whole, rows=rows)


def check_hold_out(count: int, num_images: int, label: str) -> None:
    """Raise ValueError where holding out `count` images leaves none, or there are none."""
    if count >= num_images:
        raise ValueError(
            f"data.validation_count={count} would hold out all {num_images} images of {label}: "
            f"lower it or set data.validation_path"
        )


def _open_whole(config: DataConfig, key: str) -> ImageTable:
    match config.kind:
        case "folder":
            return _folder(Path(cast(str, config.path)), key)
        case "parquet":
            return _parquet(config, key)
        case "tar":
            return _tar(config, key)
        case "hub":
            return _hub(config)
        case "embedded":
            return _embedded(EMBEDDED_VALIDATION)


def _held_out(whole: ImageTable, count: int) -> np.ndarray:
    if whole.lasting_names is None:
        return held_out_by_index(len(whole), count)
    return held_out_by_name(whole.lasting_names, count)


def _first_by_hash(whole: ImageTable, count: int) -> ImageTable:
    """At most `count` images, chosen as a hold-out would be; 0 for all."""
    if not 0 < count < len(whole):
        return whole
    return replace(whole, rows=_held_out(whole, count))


def _folder(root: Path, key: str) -> ImageTable:
    files = find_images(root, key)
    names = tuple(p.relative_to(root).as_posix() for p in files)
    return _files(str(root), files, names)


def _embedded(files: tuple[str, ...]) -> ImageTable:
    root = Path(skimage.__file__).parent / "data"
    missing = [name for name in files if not (root / name).is_file()]
    if missing:
        raise ValueError(
            f"data.kind=embedded: the scikit-image installed at {root.parent} lacks {missing}"
        )
    return _files("scikit-image's photos", [root / name for name in files], files)


def _files(label: str, files: list[Path], names: tuple[str, ...]) -> ImageTable:
    feature = datasets.Features({"image": datasets.Image(decode=False)})
    table = datasets.Dataset.from_dict({"image": [str(p) for p in files]}, features=feature)
    rows = DatasetRows(label, table, "image", names)
    return ImageTable(label, rows, np.arange(len(files)), names)


def _parquet(config: DataConfig, key: str) -> ImageTable:
    pattern = cast(str, config.path)
    shards = open_parquet(shard_paths(pattern, ".parquet", key), pattern, config.image_column)
    files = [shard.path for shard in shards if len(shard)]  # `datasets` fails at empty ones
    if not files:
        raise ValueError(f"{key}={pattern} holds no rows")
    try:
        table = cast(datasets.Dataset, datasets.Dataset.from_parquet(files))
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"{key}={pattern} cannot be read as parquet: {error}") from error
    return _table(pattern, table, config.image_column)


def _tar(config: DataConfig, key: str) -> ImageTable:
    pattern = cast(str, config.path)
    paths = shard_paths(pattern, ".tar", key)
    rows = tar_rows(index_tars(paths, pattern, config.image_column, key))
    return ImageTable(pattern, rows, np.arange(int(rows.starts[-1])))


def _hub(config: DataConfig) -> ImageTable:
    name = cast(str, config.name)
    table = from_hub(config, lambda: datasets.load_dataset(name, config.subset, split=config.split))
    return _table(f"{name}/{config.split}", cast(datasets.Dataset, table), config.image_column)


def from_hub(config: DataConfig, load: Callable[[], object]) -> object:
    """What `load` returns; every way in which the hub can fail becomes one ValueError."""
    try:
        return load()
    except (
        OSError,
        ValueError,
        RuntimeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise ValueError(
            f"data.name={config.name} (subset {config.subset}, split {config.split}) cannot be "
            f"loaded from the hub: {error}. Check the name and the network, or download it and "
            f"use data.kind=parquet or data.kind=folder."
        ) from error


def _table(label: str, table: datasets.Dataset, wanted: str | None) -> ImageTable:
    column = find_image_column(table.features, wanted, label)
    table = table.select_columns([column])
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    if len(table) == 0:
        raise ValueError(f"{label} holds no rows")
    return ImageTable(label, DatasetRows(label, table, column), np.arange(len(table)))


def check_usable(label: str, num_images: int, use: Callable[[int], object]) -> None:
    """Raise ValueError unless one image, of up to 1,000 spread over the source, can be used."""
    tried = np.unique(np.linspace(0, num_images - 1, min(num_images, _MAX_TRIED)).astype(int))
    problem = ""
    for index in tried:
        try:
            use(int(index))
        except BrokenImageError as error:
            problem = problem or str(error)
        else:
            return
    raise ValueError(
        f"{label}: none of {len(tried)} images tried (of {num_images}) is usable; "
        f"the first one: {problem}"
    )
