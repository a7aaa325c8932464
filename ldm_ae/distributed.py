"""The few collective operations that quantizers need, as no-ops in a single process."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


def world() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) when no process group exists."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks; values are not changed in place. Not differentiable."""
    if world()[1] == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def take_across_ranks(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows (N, d) of every rank, laid end to end in rank order, at indices (M,) -> (M, d).

    Every rank must hold the same number of rows and ask for the same indices. Only the M rows
    asked for travel.
    """
    rank, world_size = world()
    if world_size == 1:
        return rows[indices]
    local = indices - rank * len(rows)
    mine = (local >= 0) & (local < len(rows))
    taken = torch.where(mine[:, None], rows[local.clamp(0, len(rows) - 1)], 0.0)
    return sum_over_ranks(taken)


def gather_from_ranks(item: Item) -> list[Item]:
    """Every rank's item, in rank order, on every rank; for small things that can be pickled."""
    world_size = world()[1]
    if world_size == 1:
        return [item]
    items: list[Item | None] = [None] * world_size
    dist.all_gather_object(items, item)
    return items  # type: ignore[return-value]


def from_first_rank(find: Callable[[], Item]) -> Item:
    """What the first rank finds, on every rank, all of which must call it."""
    return cast(Item, gather_from_ranks(find() if world()[0] == 0 else None)[0])
