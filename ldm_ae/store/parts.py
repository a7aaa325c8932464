"""Which pictures each shard holds, and what is known of those that are there already.

    OUT/shard-00000.parquet    the rows
    OUT/.store/00000.json      what became of each picture of that shard
    OUT/.store/job.json        what the store is made of; another job is refused

A shard is the unit of work: its pictures and their batches do not depend on what was done before,
so that a run that was killed ends with the bytes of one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldm_ae import installed
from ldm_ae.data.source import Source
from ldm_ae.data.texts import Texts
from ldm_ae.errors import UserError
from ldm_ae.files import replacing, write_through
from ldm_ae.json_file import read_json

STATE = ".store"
_JOB = "job.json"


@dataclass(frozen=True)
class Part:
    """The pictures of one shard: rows of the source, in the order of the shard. Without any, the
    shard goes."""

    number: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """What became of a picture. sha256: of its encoded bytes, nothing where they cannot be read.
    texts: a digest of caption and label. reason: why it was left out."""

    key: str
    sha256: str
    texts: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class Index:
    """Of one shard. files: their sizes by name. views: (width, height, label) of each row.
    statistics: as `merged_statistics` has them."""

    entries: tuple[Entry, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    views: tuple[tuple[int, int, str | None], ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def forgotten(self) -> Index:
        """The same pictures in the same files, none of which is taken for done."""
        entries = tuple(Entry(entry.key, "") for entry in self.entries)
        return Index(entries, self.files)

    def is_whole(self, folder: Path) -> bool:
        """Whether its files are there, of their sizes."""
        places = {folder / name: size for name, size in self.files.items()}
        return all(path.is_file() and path.stat().st_size == n for path, n in places.items())


def texts_digest(texts: Texts) -> str:
    said = json.dumps([texts.caption, texts.label])
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def index_path(folder: Path, number: int) -> Path:
    return folder / STATE / f"{number:05d}.json"


def indexed(folder: Path) -> list[int]:
    """The numbers of the shards that are there."""
    paths = (folder / STATE).glob("[0-9]*.json")
    return sorted(int(path.stem) for path in paths if path.stem.isdigit())


def read_index(folder: Path, number: int) -> Index:
    """Nothing for a shard that is not there yet. Raises UserError for a damaged one."""
    path = index_path(folder, number)
    if not path.is_file():
        return Index()
    content = read_json(path)
    try:
        return Index(
            tuple(Entry(*entry) for entry in content["entries"]),
            content["files"],
            tuple((int(w), int(h), label) for w, h, label in content["views"]),
            content["statistics"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: remove it, and its shard is made anew") from error


def write_index(folder: Path, number: int, index: Index) -> None:
    entries = [[e.key, e.sha256, e.texts, e.reason] for e in index.entries]
    content = {
        "entries": entries,
        "files": dict(index.files),
        "views": index.views,
        "statistics": dict(index.statistics),
    }
    with replacing(index_path(folder, number)) as aside:
        write_through(aside, json.dumps(content, allow_nan=False).encode() + b"\n")


def claim(folder: Path, fingerprint: Mapping[str, Any]) -> None:
    """Make the folder this job's. Raises UserError if it is another's."""
    path = folder / STATE / _JOB
    wanted = json.loads(json.dumps(fingerprint))
    if path.is_file():
        known = read_json(path).get("job", {})
        differing = _differences(known, wanted)
        if differing:
            listed = "; ".join(f"{key} was {old}, now {new}" for key, old, new in differing)
            raise UserError(
                f"{folder} is the store of another job: {listed}. Name another folder, or take the"
                " settings back"
            )
        return
    if indexed(folder):
        raise UserError(f"{folder} has shards and no {STATE}/{_JOB}: name another folder")
    content = {"job": wanted, "ldm_ae": installed.version()}
    with replacing(path) as aside:
        write_through(aside, json.dumps(content, indent=2).encode() + b"\n")


def _differences(known: Any, wanted: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(known, dict) and isinstance(wanted, dict):
        return [
            found
            for name in sorted(known.keys() | wanted.keys())
            for found in _differences(known.get(name), wanted.get(name), f"{key}.{name}".strip("."))
        ]
    return [] if known == wanted else [(key, known, wanted)]


def plan(folder: Path, source: Source, shard_size: int) -> list[Part]:
    """Every picture in one part: where it is already, else, in the order of the source, in new
    ones. Raises UserError for two pictures of one name."""
    keys = [source.key(row) for row in range(len(source))]
    rows = dict(zip(keys, range(len(source)), strict=True))
    if len(rows) < len(keys):
        twice = next(key for row, key in enumerate(keys) if rows[key] != row)
        raise UserError(f"{source.label} has two images of the name {twice}: rename one")
    parts = []
    for number in indexed(folder):
        known = (rows.pop(entry.key, None) for entry in read_index(folder, number).entries)
        parts.append(Part(number, tuple(row for row in known if row is not None)))
    taken = {part.number for part in parts}
    fresh = sorted(rows.values())
    numbers = (number for number in range(len(fresh) + len(taken)) if number not in taken)
    for start, number in zip(range(0, len(fresh), shard_size), numbers, strict=False):
        parts.append(Part(number, tuple(fresh[start : start + shard_size])))
    return sorted(parts, key=lambda part: part.number)


def merged_statistics(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and squared deviations per channel of several sets (Chan et al. 1983, eq. 2.1)."""
    total: dict[str, Any] = {}
    for part in parts:
        if not part:
            continue
        if not total:
            total = dict(part)
            continue
        count = total["count"] + part["count"]
        pairs = list(zip(total["mean"], part["mean"], strict=True))
        squares = zip(total["squares"], part["squares"], strict=True)
        weight = total["count"] * part["count"] / count
        total = {
            "count": count,
            "mean": [a + (b - a) * part["count"] / count for a, b in pairs],
            "squares": [
                s + t + (b - a) ** 2 * weight for (s, t), (a, b) in zip(squares, pairs, strict=True)
            ],
        }
    return total
