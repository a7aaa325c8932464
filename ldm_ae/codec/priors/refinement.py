"""The order in which context priors code positions: a grid, refined fourfold from level to level.

The coarsest grid, every 16th position, is coded without context. Then each level halves the
stride in three passes: with the quarter (0, 0) of every 2x2 cell known, its positions (1, 1), then
(0, 1), then (1, 0). Three quarters of all positions so come in the finest level, between known
neighbours.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.codec.format.ladder import UNITS_PER_DEVIATION
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE, columns

NUM_LEVELS = 4
NUM_NETS = 3
CELL = ((0, 0), (1, 1), (0, 1), (1, 0))
# The finest level, the second, all coarser ones, the coarsest grid.
NUM_KINDS = 4
NUM_CONDITIONS = 2 * NUM_KINDS + 2
_MAX_NUMBERS = 1 << 22  # that a piece of what is seen may have


@dataclass(frozen=True)
class Pass:
    """Positions `CELL[corner]` of the 2x2 cells of the grid that takes every `stride`-th."""

    stride: int
    corner: int

    @property
    def net(self) -> int:
        """Which of three networks predicts it. The first also serves the coarsest grid, where it
        sees nothing."""
        return max(self.corner - 1, 0)

    @property
    def kind(self) -> int:
        """Of NUM_KINDS, what the network is told of the level."""
        return NUM_KINDS - 1 if self.corner == 0 else min(self.stride.bit_length() - 1, 2)

    @property
    def grid(self) -> tuple[slice, slice]:
        """The grid as slices of rows and columns."""
        return slice(None, None, self.stride), slice(None, None, self.stride)

    @property
    def place(self) -> tuple[slice, slice]:
        """This pass' positions as slices of rows and columns."""
        y, x = (self.stride * offset for offset in CELL[self.corner])
        return slice(y, None, 2 * self.stride), slice(x, None, 2 * self.stride)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that this pass has among (height, width) positions."""
        rows, cols = self.place
        return len(range(height)[rows]), len(range(width)[cols])

    def seen(self, values: Tensor, one: float) -> Iterator[Tensor]:
        """What is known around each of this pass' P positions, some rows of them at a time: all at
        once would take 36 times the values' memory.

        values: (C, h, w) of `grid`, of which only known ones count. Yields columns
        (9 corner (C + 1), p): corner after corner that is known, the 3x3 cells' values in each
        channel, then `one` where they exist; 0 outside.
        """
        y, x = CELL[self.corner]
        rows, cols = len(range(values.shape[1])[y::2]), len(range(values.shape[2])[x::2])
        if self.corner == 0:
            yield values.new_zeros(0, rows * cols)
            return
        grid = torch.cat([values, torch.full_like(values[:1], one)])
        grid = F.pad(grid, (0, grid.shape[2] % 2, 0, grid.shape[1] % 2))
        cells = torch.cat([grid[:, y::2, x::2] for y, x in CELL[: self.corner]])
        padded, width = F.pad(cells, (1, 1, 1, 1)), cells.shape[2]
        count = max(1, _MAX_NUMBERS // (9 * len(cells) * width))
        for top in range(0, rows, count):
            found = columns(padded[:, top : min(top + count, rows) + 2])
            yield found.view(len(found), -1, width)[:, :, :cols].flatten(1)


def condition(kind: int, step_octaves: int) -> list[int]:
    """What the network is told of the level and of the step: NUM_CONDITIONS activations.

    step_octaves: log2 of the step relative to the overall deviation, in 1/256.
    """
    t = step_octaves >> 2
    square = (t * t) >> 8
    one_hot = [ACTIVATION_ONE * (index == kind) for index in range(NUM_KINDS)]
    sloped = [t * (index == kind) for index in range(NUM_KINDS)]
    return [*one_hot, *sloped, square, (t * square) >> 8]


def all_passes(height: int, width: int) -> list[Pass]:
    """The passes that have positions among (height, width), in their order."""
    passes = [Pass(1 << (NUM_LEVELS - 1), 0)]
    for level in reversed(range(NUM_LEVELS)):
        passes += [Pass(1 << level, corner) for corner in (1, 2, 3)]
    return [each for each in passes if min(each.size(height, width)) > 0]


@functools.cache
def step_octaves(size: int) -> int:
    """floor(256 log2(size / deviation)) of a step in units, by integers alone."""
    power = size**ACTIVATION_ONE
    return power.bit_length() - 1 - ACTIVATION_ONE * (UNITS_PER_DEVIATION.bit_length() - 1)
