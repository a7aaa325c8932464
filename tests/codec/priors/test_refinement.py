import math

import numpy as np
import pytest
import torch

from ldm_ae.codec.format.ladder import STEPS
from ldm_ae.codec.priors.refinement import (
    CELL,
    NUM_CONDITIONS,
    NUM_KINDS,
    Pass,
    all_passes,
    condition,
    step_octaves,
)

SIZES = [(1, 1), (1, 7), (9, 1), (2, 2), (5, 6), (16, 16), (33, 18)]


@pytest.mark.parametrize("size", SIZES)
def test_passes_cover_everything_once(size: tuple[int, int]) -> None:
    counts = np.zeros(size, dtype=int)
    for each in all_passes(*size):
        counts[each.place] += 1
        assert counts[each.place].shape == each.size(*size)
    assert (counts == 1).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_pass_sees_what_is_known_and_nothing_else(size: tuple[int, int]) -> None:
    """Values not yet known do not show, and each known neighbour in the cells does."""
    known = torch.zeros(2, *size, dtype=torch.bool)
    values = torch.rand(2, *size) + 1
    for each in all_passes(*size):
        seen = look(each, values)
        assert torch.equal(seen, look(each, torch.where(known, values, 99.0)))
        rows, cols = each.size(*size)
        own = seen.view(each.corner, 3, 3, 3, rows, cols)[:, :, 1, 1]  # the position's own cell
        for (y, x), found in zip(CELL, own, strict=False):
            corner = values[:, *each.grid][:, y::2, x::2][:, :rows, :cols]
            height, width = corner.shape[1:]
            assert torch.equal(found[:2, :height, :width], corner)
            assert (found[2, :height, :width] == 1).all()
        known[:, *each.place] = True
    assert known.all()


def look(each: Pass, values: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(each.seen(values[:, *each.grid], 1.0)), dim=1)


def test_neighbours_stand_around_their_position() -> None:
    """The centre of the columns is the position's own cell."""
    values = torch.arange(64.0).view(1, 8, 8)
    seen = look(all_passes(8, 8)[-1], values).view(6, 3, 3, 4, 4)  # (1, 0) of the finest level
    assert torch.equal(seen[0, 1, 1], values[0, ::2, ::2])  # above
    assert torch.equal(seen[0, 2, 1, :3], values[0, 2::2, ::2])  # below
    assert torch.equal(seen[2, 1, 1], values[0, 1::2, 1::2])  # to the right


def test_octaves_are_floors_of_logarithms() -> None:
    for size in STEPS:
        assert step_octaves(size) <= 256 * math.log2(size / 256) + 1e-9 < step_octaves(size) + 1


def test_conditions_differ() -> None:
    told = {tuple(condition(k, step_octaves(s))) for k in range(NUM_KINDS) for s in STEPS}
    assert len(told) == NUM_KINDS * len(STEPS)
    assert {len(each) for each in told} == {NUM_CONDITIONS}
