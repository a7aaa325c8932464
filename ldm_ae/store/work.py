"""What one process does: part after part, from pictures to shards on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ldm_ae.data.source import Source
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.job import Job
from ldm_ae.store.layouts import read_all
from ldm_ae.store.parts import (
    Index,
    Part,
    index_path,
    merged_statistics,
    read_index,
    write_index,
)
from ldm_ae.store.preparing import Batch, End, Preparation, ahead
from ldm_ae.store.rows import Latents, Row, make_row
from ldm_ae.store.views import View

Found = list[tuple[int, View, Latents]]


@dataclass(frozen=True)
class Report:
    """Of what was done since the last one. pictures: of the source. left_out: the names of those
    that could not be used, and why. encoded: views that the network computed, in `busy_s`."""

    pictures: int
    left_out: tuple[tuple[str, str], ...] = ()
    encoded: int = 0
    busy_s: float = 0.0


class Worker:
    """Encodes parts into a folder."""

    def __init__(self, job: Job, source: Source, encoder: LatentEncoder, folder: Path) -> None:
        self.job, self.encoder, self.folder = job, encoder, folder
        self.preparation = Preparation(job, source, encoder.facts["image_channels"])

    def run(self, parts: Iterable[Part], report: Callable[[Report], None]) -> None:
        """While the network computes a batch, others are read and decoded, and the shard before
        is written. report: called at once, after each batch, and after each part, once it lies
        on disk."""
        report(Report(0))
        with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
            pending: Future[Report] | None = None
            found: Found = []
            seen = 0
            for thing in ahead(self._prepared(parts)):
                if isinstance(thing, Batch):
                    found += self._encoded(thing, thing.seen - seen, report)
                    seen = thing.seen
                    continue
                if pending is not None:
                    report(pending.result())
                pending = writer.submit(self._finish, thing, found, len(thing.pictures) - seen)
                found, seen = [], 0
            if pending is not None:
                report(pending.result())

    def _encoded(self, batch: Batch, seen: int, report: Callable[[Report], None]) -> Found:
        started = time.perf_counter()
        latents = self.encoder.encode([view.pixels for _, view in batch.views])
        report(Report(seen, (), len(latents), time.perf_counter() - started))
        places = [(place, view.without_pixels()) for place, view in batch.views]
        return [(*place, one) for place, one in zip(places, latents, strict=True)]

    def _prepared(self, parts: Iterable[Part]) -> Iterator[Batch | End]:
        for part in parts:
            index = read_index(self.folder, part.number)
            whole = index.is_whole(self.folder)
            known = {entry.key: entry for entry in index.entries} if whole else {}
            yield from self.preparation.of(part, known)

    def _finish(self, end: End, found: Found, unseen: int) -> Report:
        """Write the shard, then its index, unless they are as they should be."""
        folder, number = self.folder, end.part.number
        index = read_index(folder, number)
        entries = tuple(picture.entry for picture in end.pictures)
        if entries != index.entries or not index.is_whole(folder):
            rows = list(self._rows(end, found, index))
            if index.entries:  # what a kill from here on leaves is made anew
                write_index(folder, number, index.forgotten())
            files = self.job.files.write(folder, number, rows)
            for stale in index.files.keys() - files.keys():
                (folder / stale).unlink(missing_ok=True)
            views = tuple((row.width, row.height, row.label) for row in rows)
            statistics = merged_statistics(map(self._statistics, rows))
            write_index(folder, number, Index(entries, files, views, statistics))
            if not entries:
                index_path(folder, number).unlink()
        left_out = ((entry.key, entry.reason) for entry in entries if entry.reason is not None)
        return Report(unseen, tuple(left_out))

    def _rows(self, end: End, found: Found, index: Index) -> Iterator[Row]:
        """The rows of a part: those that were kept, and the new ones."""
        kept: dict[str, list[Row]] = {}
        if any(picture.kept for picture in end.pictures):
            for row in read_all(self.job.files, self.folder, index.files):
                kept.setdefault(row.source, []).append(row)
        fresh: dict[int, list[Row]] = {}
        for place, view, latents in found:
            picture = end.pictures[place]
            row = make_row(
                picture.entry.key,
                picture.entry.sha256,
                picture.texts,
                view,
                latents,
                self.job.storage,
                self.encoder.facts,
            )
            fresh.setdefault(place, []).append(row)
        for place, picture in enumerate(end.pictures):
            texts = picture.texts
            for row in kept[picture.entry.key] if picture.kept else fresh.get(place, []):
                yield replace(row, caption=texts.caption, label=texts.label)

    def _statistics(self, row: Row) -> dict[str, object]:
        if not row.channel_mean:
            return {}
        factor = self.encoder.facts["downsampling_factor"]
        count = (row.width // factor) * (row.height // factor)
        squares = [count * std**2 for std in row.channel_std]
        return {"count": count, "mean": row.channel_mean, "squares": squares}
