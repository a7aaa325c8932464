"""Positions with what is known around them, as a context prior's networks are fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.codec.format.ladder import NUM_QUALITIES, STEPS
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE
from ldm_ae.codec.priors.refinement import (
    NUM_CONDITIONS,
    NUM_KINDS,
    NUM_NETS,
    all_passes,
    condition,
    step_octaves,
)

_MAX_NUMBERS = 1 << 24  # per network; beyond it, positions are drawn at random


@dataclass(frozen=True)
class Examples:
    """Of one network: seen (n, 9 (4 C + 4)), targets (n, T), kinds int64 (n,), and which share of
    all positions is coded by this network."""

    seen: Tensor
    targets: Tensor
    kinds: Tensor
    share: float

    def __len__(self) -> int:
        return len(self.kinds)

    def draw(self, count: int, generator: torch.Generator) -> Examples:
        chosen = torch.randint(len(self), (count,), generator=generator)
        return Examples(
            self.seen[chosen], self.targets[chosen], self.kinds[chosen], share=self.share
        )


def collect(
    values: Sequence[Tensor], targets: Sequence[Tensor], generator: torch.Generator
) -> list[Examples]:
    """For each network, of grids of values (C, h, w) and targets (T, h, w)."""
    totals = [0] * NUM_NETS
    for grid in values:
        for each in all_passes(*grid.shape[1:]):
            rows, cols = each.size(*grid.shape[1:])
            totals[each.net] += rows * cols
    width = 9 * (4 * len(values[0]) + 4)
    kept = min(1.0, _MAX_NUMBERS / (width * max(totals)))
    empty = (
        torch.zeros(0, width),
        torch.zeros(0, len(targets[0]), dtype=targets[0].dtype),
        torch.zeros(0, dtype=torch.int64),
    )
    parts = [[empty] for _ in range(NUM_NETS)]
    for grid, target in zip(values, targets, strict=True):
        for each in all_passes(*grid.shape[1:]):
            seen = torch.cat(list(each.seen(grid[:, *each.grid], 1.0)), dim=1).T
            here = target[:, *each.place].flatten(1).T
            chosen = torch.rand(len(here), generator=generator) <= kept
            seen = F.pad(seen[chosen], (0, width - seen.shape[1]))  # corners not known are 0
            kinds = torch.full((len(seen),), each.kind)
            parts[each.net].append((seen, here[chosen], kinds))
    found = []
    for net, total in zip(parts, totals, strict=True):
        seen, here, kinds = (torch.cat(part) for part in zip(*net, strict=True))
        found.append(Examples(seen, here, kinds, total / sum(totals)))
    return found


def conditions() -> Tensor:
    """For each kind of level and each quality, what the networks are told: (NUM_KINDS,
    NUM_QUALITIES, NUM_CONDITIONS) in float."""
    told = [condition(kind, step_octaves(size)) for kind in range(NUM_KINDS) for size in STEPS]
    table = torch.tensor(told, dtype=torch.float32) / ACTIVATION_ONE
    return table.view(NUM_KINDS, NUM_QUALITIES, NUM_CONDITIONS)
