"""The image column of a table: which one it is, and reading it."""

from __future__ import annotations

from typing import Any

import datasets

from ldm_ae.data.bounds import BrokenImageError


def find_image_column(features: datasets.Features, wanted: str | None, label: str) -> str:
    """The one image column of a table, or `wanted` if it is one.

    Image features come first; without any, columns of bytes count. Raises ValueError naming
    the candidates when there is none, or more than one and `wanted` is not given.
    """
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    images = images or [key for key, kind in features.items() if _holds_bytes(kind)]
    if wanted is not None:
        if wanted in features and (wanted in images or _holds_bytes(features[wanted])):
            return wanted
        raise ValueError(
            f"data.image_column={wanted}: {label} has no such image column; its image columns "
            f"are {images or 'none'}, all columns {sorted(features)}"
        )
    if len(images) == 1:
        return images[0]
    if images:
        raise ValueError(f"{label} has image columns {images}: choose one with data.image_column")
    raise ValueError(f"{label} has no image column; its columns are {sorted(features)}")


def _holds_bytes(kind: Any) -> bool:
    if isinstance(kind, datasets.Image):
        return True
    if isinstance(kind, dict):
        return "bytes" in kind
    return isinstance(kind, datasets.Value) and kind.dtype in ("binary", "large_binary")


def encoded_image(cell: Any) -> bytes:
    """The encoded bytes of a cell. Raises BrokenImageError if there are none: a path that a table
    names is not followed, for it may be any file of the user's."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return content
    if isinstance(cell, dict) and cell.get("path"):
        raise BrokenImageError("the row holds a path instead of an image")
    raise BrokenImageError("no image in this row")
