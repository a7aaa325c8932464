"""Fits a context prior of code indices: a Gaussian start in closed form, then cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm_ae.codec.fitting.counts import fit_index_counts
from ldm_ae.codec.fitting.descent import descend, initial_weights
from ldm_ae.codec.fitting.examples import Examples, collect
from ldm_ae.codec.priors.context_net import index_shapes, run_features
from ldm_ae.codec.priors.index import ContextIndexPrior
from ldm_ae.codec.priors.integer_net import (
    ACTIVATION_ONE,
    FLOAT,
    LIMIT,
    freeze,
)
from ldm_ae.codec.priors.refinement import NUM_KINDS, condition
from ldm_ae.errors import UserError

_MAX_DIMENSIONS = 6  # of the space in which codes are neighbours
_NUM_LEARNED = 16  # weights of a code beyond those of its place in that space
_MAX_BATCH, _MAX_LOGITS = 512, 1 << 19
_RIDGE = 1e-3


def fit_index_context(
    indices: Sequence[np.ndarray], vectors: np.ndarray, steps: int, seed: int
) -> ContextIndexPrior:
    """From code indices (h, w) of any sizes and the code vectors (K, d).

    Raises UserError for vectors that are all the same.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = fit_index_counts(indices, len(vectors))
    shares = counts.tables.row(0) / counts.tables.row(0).sum()
    places = torch.from_numpy(places_of(vectors, shares))
    rounded = (places * ACTIVATION_ONE).round().clamp(-LIMIT, LIMIT)
    targets = [torch.from_numpy(item.astype(np.int64)) for item in indices]
    with torch.inference_mode(False), torch.enable_grad():
        planes = [(rounded / ACTIVATION_ONE)[item].permute(2, 0, 1) for item in targets]
        examples = collect(planes, [item[None] for item in targets], generator)
        codes = code_weights(places, torch.from_numpy(shares).float(), generator)
        nets = train(examples, places, codes, steps, generator)
    [*weights, weight] = [freeze(net) for net in (*nets, {"codes": codes})]
    vectors = rounded.to(torch.int16).numpy()
    return ContextIndexPrior(counts.tables, vectors, weight["codes"], weights)


def places_of(vectors: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Code vectors (K, d) on their principal axes, each of unit variance: float32 (K, D)."""
    centred = vectors.astype(np.float64) - shares @ vectors
    variances, axes = np.linalg.eigh((centred * shares[:, None]).T @ centred)
    used = np.flatnonzero(variances > 1e-6 * variances[-1])[::-1][:_MAX_DIMENSIONS]
    if not variances[-1] > 0:
        raise UserError("the code vectors are all the same: no neighbour tells them apart")
    return (centred @ axes[:, used] / np.sqrt(variances[used])).astype(np.float32)


def code_weights(places: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    """(K, L): log2 share, place e, products e_i e_j, and random numbers to be learned."""
    first, second = torch.triu_indices(places.shape[1], places.shape[1])
    products = places[:, first] * places[:, second] / 4
    logs = torch.log2(shares)[:, None] / 4
    extra = 0.1 * torch.randn(len(places), _NUM_LEARNED, generator=generator)
    return torch.cat([logs - logs.mean(), places, products, extra], dim=1)


def train(
    examples: Sequence[Examples],
    places: Tensor,
    codes: Tensor,
    steps: int,
    generator: torch.Generator,
) -> list[dict[str, Tensor]]:
    """The three networks' weights in float; `codes` is fitted in place."""
    shapes = index_shapes(places.shape[1], codes.shape[1])
    nets = [initial_weights(shapes, generator) for _ in examples]
    for net, each in zip(nets, examples, strict=True):
        if len(each):
            start_gaussian(net, each, places, generator)
    batch_size = max(32, min(_MAX_BATCH, _MAX_LOGITS // len(codes)))
    told = torch.tensor([condition(kind, 0) for kind in range(NUM_KINDS)]) / ACTIVATION_ONE

    def bits(index: int, batch: Examples) -> Tensor:
        return net_bits(nets[index], codes, batch, told)

    parameters = [codes, *(weight for net in nets for weight in net.values())]
    descend(parameters, examples, bits, batch_size, steps, generator)
    return nets


def net_bits(net: dict[str, Tensor], codes: Tensor, examples: Examples, told: Tensor) -> Tensor:
    """-log2 of the probability of each index, (n,)."""
    features = run_features(net, examples.seen.T, told[examples.kinds].T, FLOAT)
    logits = features.T @ codes.T * math.log(2)
    return F.cross_entropy(logits, examples.targets[:, 0], reduction="none") / math.log(2)


@torch.no_grad()
def start_gaussian(
    net: dict[str, Tensor], examples: Examples, places: Tensor, generator: torch.Generator
) -> None:
    """With a linear prediction m of a code's place e, of residual covariance R, the code has
    p(e|m) ~ share(e) N(e; m, R) / N(e; 0, S), where S is the covariance of all places."""
    width, dimensions = examples.seen.shape[1], places.shape[1]
    drawn = examples.draw(min(len(examples), 100 * width), generator)
    inputs, wanted = drawn.seen.double(), places[drawn.targets[:, 0]].double()
    squares = inputs.T @ inputs + _RIDGE * len(drawn) * torch.eye(width)
    solution = torch.linalg.solve(squares, inputs.T @ wanted)
    rest = wanted - inputs @ solution
    ridge = 0.01 * torch.eye(dimensions)
    precision = torch.linalg.inv(rest.T @ rest / len(drawn) + ridge)
    overall = torch.linalg.inv(wanted.T @ wanted / len(drawn) + ridge)
    octave = 1 / math.log(2)
    net["linear"][1 : 1 + dimensions] = (octave * precision @ solution.T).float()
    first, second = torch.triu_indices(dimensions, dimensions)
    excess = (precision - overall)[first, second] * torch.where(first == second, 1.0, 2.0)
    # The factors 4 undo those of `code_weights`; nothing is known in the coarsest grid.
    products = slice(1 + dimensions, 1 + dimensions + len(first))
    net["features_condition"][products, : NUM_KINDS - 1] = (-0.5 * octave * 4 * excess).float()[
        :, None
    ]
    net["features_condition"][0, :NUM_KINDS] = 4.0
