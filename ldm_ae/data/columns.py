"""The image column of tables: which one it is, and reading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.errors import UserError

# Else opening a local file asks the network to count it.
datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False


def find_image_column(tables: Sequence[tuple[str, datasets.Features]], wanted: str | None) -> str:
    """The one image column that all these tables have, or `wanted` if it is one.

    tables: of one source, what to call each and its columns. Image features come first; without
    any, columns of bytes count. Raises UserError naming the table and the candidates when there is
    none, or more than one and `wanted` is not given, and for a table that lacks the others' column.
    """
    first, features = next((t for t in tables if _image_columns(t[1])), tables[0])
    column = _choose(features, wanted, first)
    for label, others in tables:
        if column not in others:
            raise UserError(
                f"{label} has no column {column}, the images of {first}; its columns are"
                f" {sorted(others)}. Rename one, or take {label} out"
            )
        if not (_holds_bytes(others[column]) or _is_empty(others[column])):
            raise UserError(
                f"{label}: its column {column} holds no encoded images, as that of {first} does,"
                f" but {others[column]}. Write it as bytes, or take {label} out"
            )
    return column


def _choose(features: datasets.Features, wanted: str | None, label: str) -> str:
    images = _image_columns(features)
    if wanted is not None:
        if wanted in features and (wanted in images or _holds_bytes(features[wanted])):
            return wanted
        raise UserError(
            f"data.image_column={wanted}: {label} has no such image column; its image columns"
            f" are {images or 'none'}, all columns {sorted(features)}"
        )
    if len(images) == 1:
        return images[0]
    if images:
        raise UserError(f"{label} has image columns {images}: choose one with data.image_column")
    raise UserError(
        f"{label} has no column of encoded images; its columns are {dict(features)}. Where they"
        " name files, set data.kind=folder and data.path to a text file of their paths"
    )


def _image_columns(features: datasets.Features) -> list[str]:
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    return images or [key for key, kind in features.items() if _holds_bytes(kind)]


def _holds_bytes(kind: Any) -> bool:
    if isinstance(kind, datasets.Image):
        return True
    if isinstance(kind, dict):
        return "bytes" in kind
    return isinstance(kind, datasets.Value) and kind.dtype in ("binary", "large_binary")


def _is_empty(kind: Any) -> bool:
    """Whether a column is of the type that stands for missing values alone."""
    return isinstance(kind, datasets.Value) and kind.dtype == "null"


def encoded_image(cell: Any) -> bytes:
    """The encoded bytes of a cell. Raises BrokenImageError if there are none: a path that a table
    names is not followed, for it may be any file of the user's."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return content
    if isinstance(cell, dict) and cell.get("path"):
        raise BrokenImageError("the row holds a path instead of an image")
    raise BrokenImageError("no image in this row")


def text_columns(features: datasets.Features) -> list[str]:
    """The columns of single texts and numbers."""
    plain = ("string", "large_string", "int8", "int16", "int32", "int64", "uint8", "uint16")
    return [
        name
        for name, kind in features.items()
        if isinstance(kind, datasets.ClassLabel)
        or (isinstance(kind, datasets.Value) and kind.dtype in plain)
    ]


def with_class_names(cells: Mapping[str, Any], features: datasets.Features) -> dict[str, Any]:
    """A row with the numbers of classes replaced by their names, where the table has them."""
    return {name: _class_name(cell, features.get(name)) for name, cell in cells.items()}


def _class_name(cell: Any, kind: Any) -> Any:
    if isinstance(kind, datasets.ClassLabel) and isinstance(cell, int):
        return kind.names[cell] if 0 <= cell < len(kind.names) else cell
    return cell
