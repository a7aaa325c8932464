"""The loop of every training: updates, with what is due between them, until the end or a signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from ldm_ae.data.batch import Batch
from ldm_ae.train.checkpoint import Progress
from ldm_ae.train.keeper import Keeper
from ldm_ae.train.logging import RunLog
from ldm_ae.train.state import RunState
from ldm_ae.train.stopping import StopRequest, TrainingStopped
from ldm_ae.train.update import Terms

AnyBatch = TypeVar("AnyBatch", bound=Batch, covariant=True)


class Loader(Protocol[AnyBatch]):
    """Endless batches of this rank, from any position."""

    @property
    def num_images(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    def batches(self, start_position: int = 0) -> Iterator[AnyBatch]: ...


def run_updates(
    state: RunState,
    loader: Loader[AnyBatch],
    progress: Progress,
    log: RunLog,
    keeper: Keeper,
    update: Callable[[Sequence[AnyBatch], int], Terms],
    judge: Callable[[int], dict[str, Any] | None],
) -> Progress:
    """All updates from `progress` on; returns where they ended and closes the log.

    update: given micro-batches and the updates done. judge: called after each update with those
    done; gives its scores where a validation was due. Raises TrainingStopped after a signal, with
    everything saved.
    """
    config = state.config
    batches = loader.batches(progress.images_seen)
    seen = config.batch_size * config.accumulation * loader.world_size  # in an update
    scores: dict[str, Any] | None = None
    with StopRequest() as stop:
        while progress.step < config.steps and not stop.agreed():
            with log.waiting_for_data():
                micro_batches = [next(batches) for _ in range(config.accumulation)]
            terms = update(micro_batches, progress.step)
            position = progress.images_seen + seen
            progress = Progress(progress.step + 1, position, loader.num_images, config.seed)
            log.advance(seen, micro_batches, state.guard.take_notes())
            if is_due(progress.step, config.log_every, config.steps):
                log.terms(progress.step, terms | state.usage())
            scores = judge(progress.step)
            best = keeper.beats_the_best(scores)  # asked also where a checkpoint is due anyway
            if best or is_due(progress.step, config.checkpoint_every, config.steps):
                keeper.save(progress, scores)
        if stop.agreed():
            saved = keeper.save(progress, scores)
            log.close()
            raise TrainingStopped(
                f"stopped by {stop.name} after step {progress.step}; everything is in {saved}:"
                " go on with --resume latest"
            )
    log.close()
    return progress


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something that comes every so many steps, and at the last one, is due."""
    return step == steps or step % every == 0
