"""From a part's pictures to batches of crops, read and decoded ahead of the network."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.images import decode_image
from ldm_ae.data.source import Item, Source
from ldm_ae.data.texts import Texts
from ldm_ae.store.job import Job
from ldm_ae.store.parts import Entry, Part, texts_digest
from ldm_ae.store.views import View

Thing = TypeVar("Thing")
_DECODERS = 4  # threads of one process
_AHEAD = 4  # batches


@dataclass(frozen=True)
class Picture:
    """views: none where it is kept, or left out as its entry says. kept: it is in the shard."""

    entry: Entry
    texts: Texts
    views: tuple[View, ...] = ()
    kept: bool = False


@dataclass(frozen=True)
class Batch:
    """Views of one size: (picture's place in the part, view). seen: pictures of the part so far."""

    views: list[tuple[int, View]]
    seen: int


@dataclass(frozen=True)
class End:
    """Of a part, after its batches."""

    part: Part
    pictures: list[Picture]


class Preparation:
    """A job's parts => their batches, each part's followed by its `End`."""

    def __init__(self, job: Job, source: Source, channels: int) -> None:
        self.job, self.source, self.channels = job, source, channels

    def of(self, part: Part, known: Mapping[str, Entry]) -> Iterator[Batch | End]:
        """The batches hang on the part alone, not on when its pictures come. known: entries of
        the shard that is there."""
        waiting, pictures = defaultdict[tuple[int, ...], list[tuple[int, View]]](list), []
        for place, picture in enumerate(self._pictures(part, known)):
            pictures.append(Picture(picture.entry, picture.texts, (), picture.kept))
            for view in picture.views:
                group = waiting[view.pixels.shape]
                group.append((place, view))
                if len(group) == self.job.batch_size:
                    yield Batch(waiting.pop(view.pixels.shape), place + 1)
        yield from (Batch(views, len(pictures)) for views in waiting.values())
        yield End(part, pictures)

    def _pictures(self, part: Part, known: Mapping[str, Entry]) -> Iterator[Picture]:
        """In order; so many are decoded at once, and so many wait, as fill a few batches."""
        limit = _AHEAD * self.job.batch_size
        with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
            ahead: deque[Future[Picture]] = deque()
            for row, item in zip(part.rows, self.source.items(part.rows), strict=True):
                ahead.append(pool.submit(self.picture, row, item, known))
                if len(ahead) > limit:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def picture(self, row: int, item: Item, known: Mapping[str, Entry]) -> Picture:
        """One picture of the source, read, and decoded unless it is known."""
        key, texts = self.source.key(row), self.source.texts(row, self.job.columns)
        entry = partial(Entry, key, texts=texts_digest(texts))
        sha256 = ""
        try:
            content = _content(item[1])
            sha256 = hashlib.sha256(content).hexdigest()
            before = known.get(key)
            if before is not None and (before.sha256, before.reason) == (sha256, None):
                return Picture(entry(sha256=sha256), texts, kept=True)
            image = decode_image(content, self.channels, bounds=self.job.data.bounds)
            return Picture(entry(sha256=sha256), texts, tuple(self.job.views.of(image, key)))
        except BrokenImageError as error:
            return Picture(entry(sha256=sha256, reason=str(error)), texts)


def _content(found: str | bytes | BrokenImageError) -> bytes:
    """The encoded image. Raises BrokenImageError where there is none."""
    if isinstance(found, BrokenImageError):
        raise found
    if isinstance(found, bytes):
        return found
    try:
        with open(found, "rb") as file:
            return file.read()
    except OSError as error:
        raise BrokenImageError(f"cannot be read: {error.strerror}") from error


def ahead(things: Iterable[Thing]) -> Iterator[Thing]:
    """The same, taken from `things` by a thread, a few before they are asked for."""
    waiting: queue.Queue[tuple[str, object]] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(kind: str, thing: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((kind, thing), timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def run() -> None:
        try:
            for thing in things:
                if not put("thing", thing):
                    return
            put("end", None)
        except BaseException as error:  # whatever it is, it is raised where the things are taken
            put("error", error)

    thread = threading.Thread(target=run, name="prepare", daemon=True)
    thread.start()
    try:
        while True:
            kind, thing = waiting.get()
            if kind == "thing":
                yield thing  # type: ignore[misc]
            elif kind == "error":
                assert isinstance(thing, BaseException)
                raise thing
            else:
                return
    finally:
        stopped.set()
        thread.join()
