"""WebDataset tar shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ldm_ae.errors import UserError
from ldm_ae.store.layouts import Layout, stamp
from ldm_ae.store.rows import Row


class TarLayout(Layout):
    """A sample a row: `.safetensors` or `.lae`, `.json` with the other columns, and `.txt`,
    `.cls` where there are caption and label."""

    ending = ".tar"

    def to_bytes(self, rows: Sequence[Row]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, row in enumerate(rows):
                for ending, content in _members(row).items():
                    header = tarfile.TarInfo(f"{number:06d}.{ending}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        return buffer.getvalue()

    def read(self, path: Path) -> Iterator[Row]:
        return (self.row(path, number) for number in range(len(_places(path, stamp(path)))))

    def row(self, path: Path, number: int) -> Row:
        try:
            places = _places(path, stamp(path))[number]
            with path.open("rb") as file:
                cells = json.loads(_content(file, places["json"]))
                latents = places.get("safetensors", places.get("lae"))
                return Row(**cells, latents=_content(file, latents))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no shard of latents: {error!r}") from error


def _members(row: Row) -> dict[str, bytes]:
    cells = asdict(replace(row, latents=b""))
    del cells["latents"]
    coded = row.said["content"] == "coded"
    members = {"json": json.dumps(cells).encode(), "lae" if coded else "safetensors": row.latents}
    texts = {"txt": row.caption, "cls": row.label}
    return members | {ending: text.encode() for ending, text in texts.items() if text is not None}


@lru_cache(maxsize=64)
def _places(path: Path, version: tuple[int, int]) -> list[dict[str, tuple[int, int]]]:
    """(offset, size) of each sample's members, by ending."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name, _, ending = member.name.partition(".")
                samples.setdefault(name, {})[ending] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path} cannot be read as a shard: {error}") from error
    return list(samples.values())


def _content(file: BinaryIO, place: tuple[int, int] | None) -> bytes:
    if place is None:
        raise KeyError("latents")
    file.seek(place[0])
    return file.read(place[1])
