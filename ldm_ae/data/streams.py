"""The order of a stream: a pure function of (seed, images seen), with no state to lose.

Epoch e puts the shards in an order of its own, one after another, and cuts that row of N images
into `stream_lanes` contiguous lanes of equal length (to one image). Positions take the lanes in
turn: p reads lane p mod L. Every image comes once per epoch, whoever reads it.

Rank r of W takes every W-th position of a global batch, and worker k of K every K-th of those;
so where W K divides L no two workers read the same lane, and the global batch is the same set
for every W and K. (A table's ranks take contiguous blocks instead: reading is free there.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import has_further_frames
from ldm_ae.data.randomness import REPLACEMENT, SHARDS, VIEW, WINDOW, generator
from ldm_ae.data.source import Item, TrainingImages
from ldm_ae.data.transforms import decode_for_training, random_view
from ldm_ae.errors import UserError

_MAX_IN_LANE = 16  # replacements from one lane; it may be short, or unusable as a whole
_MAX_REPLACEMENTS = 1000


@dataclass(frozen=True)
class Sample:
    """pixels: uint8 (size, size, C); position: images seen before it in the whole run; cut: whether
    its file holds further frames."""

    pixels: np.ndarray
    position: int
    name: str
    skipped: list[str]
    cut: bool


class StreamViews(IterableDataset[Sample]):
    """One rank's endless samples of a stream, from `start_position` on, shared by its workers."""

    def __init__(
        self,
        images: TrainingImages,
        config: DataConfig,
        seed: int,
        start_position: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.images, self.config, self.seed = images, config, seed
        self.first, self.stride = start_position + rank, world_size

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        position = self.first + number * self.stride
        lanes: dict[int, _Lane] = {}
        while True:
            lane = position % self.config.stream_lanes
            if lane not in lanes:
                lanes[lane] = _Lane(self.images, self.config, self.seed, position)
            image, name, skipped = lanes[lane].image_at(position)
            rng = generator(self.seed, VIEW, position)
            view, cut = random_view(image, self.config, rng), has_further_frames(image)
            yield Sample(view, position, name, skipped, cut)
            position += workers * self.stride


class _Lane:
    """Reads one lane forward.

    An unusable image is replaced by the next usable one of the lane or, where many in a row are
    unusable, by one from anywhere that the position decides.
    """

    def __init__(
        self, images: TrainingImages, config: DataConfig, seed: int, position: int
    ) -> None:
        self.images, self.config, self.seed = images, config, seed
        self.position = position
        self.items = lane_items(images, seed, position, config.stream_lanes, config.shuffle_window)
        self.ahead: deque[Item] = deque()

    def image_at(self, position: int) -> tuple[Image.Image, str, list[str]]:
        while self.position < position:  # other workers' positions on a shared lane
            if self.ahead:
                self.ahead.popleft()
            else:
                next(self.items)
            self.position += self.config.stream_lanes
        skipped: list[str] = []
        for item in islice(self._candidates(position), _MAX_REPLACEMENTS):
            try:
                return decode_for_training(item, self.config), item[0], skipped
            except BrokenImageError as error:
                skipped.append(str(error))
        raise UserError(
            f"{_MAX_REPLACEMENTS} images in a row are unusable; the last one: {skipped[-1]}"
        )

    def _candidates(self, position: int) -> Iterator[Item]:
        for number in range(_MAX_IN_LANE):
            if number == len(self.ahead):
                self.ahead.append(next(self.items))
            yield self.ahead[number]
        rng = generator(self.seed, REPLACEMENT, position)
        while True:
            yield self.images.item(int(rng.integers(len(self.images))))


def lane_items(
    images: TrainingImages, seed: int, position: int, lanes: int, window: int
) -> Iterator[Item]:
    """The items at `position`, `position + lanes`, `position + 2 lanes`, ... without end."""
    num_images, lane = len(images), position % lanes
    epoch = position // num_images
    while True:
        starts = _lane_starts(num_images, epoch, lanes)
        first = epoch * num_images + (lane - epoch * num_images) % lanes  # the lane's in this epoch
        skip = max(0, -(-(position - first) // lanes))
        lane_range = (int(starts[lane]), int(starts[lane + 1]))
        yield from _shuffled(images, seed, epoch, lane, lane_range, skip, window)
        epoch += 1


def _lane_starts(num_images: int, epoch: int, lanes: int) -> np.ndarray:
    """Where each lane starts in the epoch's row of images, and its end: (lanes + 1,).

    Lane l serves the positions p of the epoch with p mod L = l, so its length is their number.
    """
    begin, end = epoch * num_images, (epoch + 1) * num_images
    ids = np.arange(lanes)
    lengths = (end - 1 - ids) // lanes - (begin - 1 - ids) // lanes
    return np.concatenate([[0], np.cumsum(lengths)])


def _shuffled(
    images: TrainingImages,
    seed: int,
    epoch: int,
    lane: int,
    lane_range: tuple[int, int],
    skip: int,
    window: int,
) -> Iterator[Item]:
    """A lane's items of one epoch from its item `skip` on, shuffled in windows."""
    start, stop = lane_range
    block = skip // window
    offset = start + block * window
    if offset >= stop:
        return
    items = _row_of_shards(images, seed, epoch, offset)
    skip -= block * window
    while offset < stop:
        taken = [next(items) for _ in range(min(window, stop - offset))]
        order = generator(seed, WINDOW, epoch, lane, block).permutation(len(taken))
        yield from (taken[i] for i in order[skip:])
        offset, block, skip = offset + len(taken), block + 1, 0


def _row_of_shards(images: TrainingImages, seed: int, epoch: int, offset: int) -> Iterator[Item]:
    """The epoch's images, shard after shard, from `offset` on."""
    for shard in generator(seed, SHARDS, epoch).permutation(len(images.source.shards)):
        length = images.length(shard)
        if offset < length:
            yield from images.items(int(shard), offset)
        offset = max(0, offset - length)
