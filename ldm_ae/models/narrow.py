"""A narrower network that starts with some of a wider one's channels."""

from collections.abc import Mapping

import torch
from torch import Tensor


def narrowed(
    wide: Mapping[str, Tensor], fresh: Mapping[str, Tensor], groups: int
) -> dict[str, Tensor]:
    """The weights `fresh`, each with the values of its namesake in `wide` as far as it has room.

    Of each of a norm's `groups` the first channels are taken, the same in every layer, so that
    what a residual stream adds up stays together. What has no namesake, or one of other kernels,
    stays as it is.
    """
    return {name: _taken(wide.get(name), value, groups) for name, value in fresh.items()}


def _taken(wide: Tensor | None, fresh: Tensor, groups: int) -> Tensor:
    if wide is None or wide.ndim != fresh.ndim or wide.shape[2:] != fresh.shape[2:]:
        return fresh
    if any(theirs < ours for theirs, ours in zip(wide.shape, fresh.shape, strict=True)):
        return fresh
    for axis in range(min(fresh.ndim, 2)):
        wide = wide.index_select(axis, _channels(wide.shape[axis], fresh.shape[axis], groups))
    return wide


def _channels(wide: int, narrow: int, groups: int) -> Tensor:
    """Which of so many channels are taken, (narrow,)."""
    if wide == narrow:
        return torch.arange(wide)
    return torch.arange(wide).view(groups, -1)[:, : narrow // groups].flatten()
