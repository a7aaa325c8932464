"""Low resolution first: training batches whose crops grow at given steps.

Only the crop's size changes: positions in the data, and the images and random numbers that belong
to them, go on as if there were no stages. So a run that is resumed anywhere finds its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from ldm_ae.data.batch import Batch
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.errors import UserError


@dataclass(frozen=True)
class Stage:
    """Crops of `size` pixels for the updates before update `until_step`."""

    until_step: int
    size: int


def require_growing(stages: Sequence[Stage], final_size: int, factor: int) -> None:
    """Raise UserError unless steps and sizes grow and every size is a multiple of `factor`."""
    steps = [0, *(stage.until_step for stage in stages)]
    sizes = [*(stage.size for stage in stages), final_size]
    if any(later <= sooner for sooner, later in pairwise(steps)):
        raise UserError(f"train.progressive ends its stages at {steps[1:]}: let them grow from 1")
    if any(later <= sooner for sooner, later in pairwise(sizes)):
        raise UserError(
            f"train.progressive has the sizes {sizes[:-1]} before data.size={final_size}: let"
            " them grow"
        )
    bad = [size for size in sizes[:-1] if size < 1 or size % factor]
    if bad:
        raise UserError(
            f"train.progressive has the sizes {bad}: use multiples of the model's downsampling"
            f" factor {factor}"
        )


def staged_batches(
    loader: TrainLoader, stages: Sequence[Stage], accumulation: int, step: int, position: int
) -> Iterator[Batch]:
    """Endless micro-batches from update `step` on, `accumulation` to an update.

    loader: of the size that comes after the stages. position: images seen before `step`.
    """
    for stage in stages:
        if step < stage.until_step:
            count = (stage.until_step - step) * accumulation
            yield from islice(loader.at_size(stage.size).batches(position), count)
            position += count * loader.batch_size * loader.world_size
            step = stage.until_step
    yield from loader.batches(position)
