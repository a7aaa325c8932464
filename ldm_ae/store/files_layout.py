"""One .safetensors a picture, by the names and keys that kohya's trainers look for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.store.layouts import Layout, written
from ldm_ae.store.rows import Row, to_bytes

_ROWS = "ldm_ae"  # the key of our own metadata
_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}


class FilesLayout(Layout):
    """`NAME_WWWWxHHHH_ARCHITECTURE.safetensors`, W and H of the picture, at the picture's place
    below the store; in it `latents_HxW_TYPE` and, of mirrored pictures, `latents_flipped_HxW_TYPE`,
    H and W of the latents, and in its metadata the size and `crop_ltrb_HxW`."""

    ending = ".safetensors"

    def __init__(self, architecture: str = "ldm_ae") -> None:
        if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", architecture):
            raise UserError(f"architecture {architecture!r}: use letters, digits and _")
        self.architecture = architecture

    def write(self, folder: Path, number: int, rows: Sequence[Row]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for _, group in groupby(rows, key=lambda row: row.source):
            views = list(group)
            name = self._name(views[0])
            if name in sizes:
                raise UserError(f"{views[0].source}: {name} is another picture's: rename one")
            sizes[name] = written(folder / name, self.to_bytes(views))
        return sizes

    def to_bytes(self, rows: Sequence[Row]) -> bytes:
        tensors, metadata = {}, self._metadata(rows[0])
        for row in rows:
            tensor = row.tensor()
            height, width = tensor.shape[1:]
            flipped = "_flipped" * row.said["flipped"]
            kind = str(tensor.dtype).removeprefix("torch.")
            tensors[f"latents{flipped}_{height}x{width}_{kind}"] = tensor
            metadata[f"crop_ltrb_{height}x{width}"] = ",".join(map(str, row.said["crop"]))
        cells = [asdict(replace(row, latents=b"")) | {"latents": ""} for row in rows]
        return _safetensors(tensors, metadata | {_ROWS: json.dumps(cells)})

    def read(self, path: Path) -> Iterator[Row]:
        try:
            with safe_open(path, framework="pt") as file:
                tensors = [file.get_tensor(key) for key in sorted(file.keys())]
                cells = json.loads((file.metadata() or {})[_ROWS])
                # `latents_` comes before `latents_flipped_`.
                for row, tensor in zip(cells, tensors, strict=True):
                    kind = str(tensor.dtype).removeprefix("torch.")
                    row["latents"] = to_bytes(tensor, kind)
                    yield Row(**row)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} cannot be read as latents of ours: {error}") from error

    def row(self, path: Path, number: int) -> Row:
        return list(self.read(path))[number]

    def _name(self, row: Row) -> str:
        width, height = row.said["original"]
        size = f"{width:04d}x{height:04d}"
        return f"{stem_of(row.source)}_{size}_{self.architecture}{self.ending}"

    def _metadata(self, row: Row) -> dict[str, str]:
        width, height = row.said["original"]
        return {
            "architecture": self.architecture,
            "format_version": "1.0.0",
            "width": str(width),
            "height": str(height),
        }


def stem_of(source: str) -> PurePosixPath:
    """A picture's place below the store, whatever its own one, without the ending."""
    parts = PurePosixPath(source).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "//", ".."))).with_suffix("")


def _safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The file format's bytes, always in one order: its library's metadata come in any."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    content = b""
    for name, tensor in tensors.items():
        values = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(content), len(content) + len(values)],
        }
        content += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content
