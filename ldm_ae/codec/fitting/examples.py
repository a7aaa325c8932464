"""Positions with what is known around them, as a context prior's networks are fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_ae.codec.format.ladder import NUM_QUALITIES, STEPS
from ldm_ae.codec.priors.context_passes import (
    NUM_CONDITIONS,
    NUM_KINDS,
    NUM_NETS,
    all_passes,
    condition,
    step_octaves,
)
from ldm_ae.codec.priors.integer_net import ACTIVATION_ONE

_WARMUP = 20
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
    parts: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in range(NUM_NETS)]
    for grid, target in zip(values, targets, strict=True):
        for each in all_passes(*grid.shape[1:]):
            seen = each.seen(each.cells(grid, 1.0), each.size(*grid.shape[1:]))
            here = target[(slice(None), *each.place())].flatten(1)
            chosen = torch.rand(here.shape[1], generator=generator) <= kept
            kinds = torch.full((int(chosen.sum()),), each.kind)
            parts[each.net].append((seen[:, chosen].T, here[:, chosen].T, kinds))
    found = []
    for net, total in zip(parts, totals, strict=True):
        empty = (torch.zeros(0, width), torch.zeros(0, len(targets[0])).to(targets[0].dtype))
        columns = zip(*net, strict=True) if net else ((part,) for part in (*empty, torch.zeros(0)))
        seen, here, kinds = (torch.cat(part) for part in columns)
        found.append(Examples(seen, here, kinds.long(), total / sum(totals)))
    return found


def conditions() -> Tensor:
    """For each kind of level and each quality, what the networks are told: (NUM_KINDS,
    NUM_QUALITIES, NUM_CONDITIONS) in float."""
    told = [condition(kind, step_octaves(size)) for kind in range(NUM_KINDS) for size in STEPS]
    table = torch.tensor(told, dtype=torch.float32) / ACTIVATION_ONE
    return table.view(NUM_KINDS, NUM_QUALITIES, NUM_CONDITIONS)


def schedule(step: int, steps: int) -> float:
    """The factor on the learning rate: a short rise, then half a cosine."""
    return min(1.0, (step + 1) / _WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1)))
