"""Fits a context prior: least squares for the linear part, then likelihood by gradient descent."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.fitting.counts import fit_scale
from ldm_ae.codec.fitting.descent import descend, initial_weights
from ldm_ae.codec.fitting.examples import Examples, collect, conditions
from ldm_ae.codec.format.ladder import (
    NUM_QUALITIES,
    STEPS,
    UNITS_PER_DEVIATION,
    largest_symbol,
)
from ldm_ae.codec.priors.context import (
    LEAST_SCALE,
    NUM_FRACTIONS,
    NUM_SCALES,
    SCALES_PER_OCTAVE,
    ContextPrior,
    to_rows,
)
from ldm_ae.codec.priors.context_net import (
    FITTED,
    groups,
    latent_shapes,
    run_head,
    run_trunk,
)
from ldm_ae.codec.priors.distributions import Signed
from ldm_ae.codec.priors.frequencies import integer_counts
from ldm_ae.codec.priors.integer_net import FLOAT, INTEGER, Arithmetic, Weights, freeze
from ldm_ae.codec.priors.refinement import NUM_KINDS
from ldm_ae.codec.priors.tables import FrequencyTables

_BATCH = 1024  # positions per network and step
_COARSEST = 8  # qualities below code next to nothing
_RIDGE = 1e-3
_LEAST_PROBABILITY = 2.0**-16
_ESCAPED = 2e-5

_log = logging.getLogger(__name__)


def fit_context(latents: Sequence[np.ndarray], steps: int, seed: int) -> ContextPrior:
    """From latents (C, h, w) of any sizes, together at least a few thousand positions.

    One prior serves all qualities: each example is rounded to the step of a random one. Raises
    UserError for latents that do not vary.
    """
    scale = fit_scale(latents)
    centre, deviation = scale.centre[:, None, None], scale.unit * UNITS_PER_DEVIATION
    scaled = [
        torch.from_numpy(((item - centre) / deviation).astype(np.float32)) for item in latents
    ]
    generator = torch.Generator().manual_seed(seed)
    # Values in a caller's inference mode could not be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        examples = collect(scaled, scaled, generator)
        nets = train(examples, steps, generator)
    prior = ContextPrior(scale_tables(), [freeze(net) for net in nets], scale=scale)
    _report(prior, nets, examples, generator)
    return prior


def train(
    examples: Sequence[Examples], steps: int, generator: torch.Generator
) -> list[dict[str, Tensor]]:
    """The three networks' weights in float."""
    channels = examples[0].targets.shape[1]
    masks = causal_masks(channels)
    nets = [initial_weights(latent_shapes(channels), generator) for _ in examples]
    for net, each in zip(nets, examples, strict=True):
        if len(each):
            start_linear(net, each, generator)
    told = conditions()

    def bits(index: int, batch: Examples) -> Tensor:
        quality = torch.randint(_COARSEST, NUM_QUALITIES, (len(batch),), generator=generator)
        return net_bits(_masked(nets[index], masks), batch, quality, told)

    parameters = [weight for net in nets for weight in net.values()]
    descend(parameters, examples, bits, _BATCH, steps, generator)
    return [_masked(net, masks) for net in nets]


def causal_masks(channels: int) -> dict[str, Tensor]:
    """1 where a weight may be other than zero, for the weights on values at the same place."""
    group = torch.zeros(channels)
    for index, members in enumerate(groups(channels)):
        group[members] = index
    earlier = (group[:, None] > group[None, :]).float()
    units = earlier.repeat_interleave(FITTED.per_channel, dim=0)
    return {"mean_here": earlier, "head_here": units}


@torch.no_grad()
def start_linear(net: dict[str, Tensor], examples: Examples, generator: torch.Generator) -> None:
    """Ridge regression of each channel on what is seen and the channels before it."""
    channels, width = examples.targets.shape[1], examples.seen.shape[1]
    count = min(len(examples), 100 * width)
    drawn = examples.draw(count, generator)
    quality = torch.randint(NUM_QUALITIES // 3, NUM_QUALITIES, (count,), generator=generator)
    seen, here = rounded(drawn, quality)
    inputs = torch.cat([seen, here], dim=1).double()
    squares, products = inputs.T @ inputs, inputs.T @ drawn.targets.double()
    squares += _RIDGE * count * torch.eye(len(squares))
    for part in groups(channels):
        known = width + part.start
        solution = torch.linalg.solve(squares[:known, :known], products[:known, part])
        net["linear"][part] = solution[:width].T.float()
        net["mean_here"][part, : part.start] = solution[width:].T.float()
        rest = drawn.targets[:, part] - inputs[:, :known].float() @ solution.float()
        # log2 of a logistic's scale
        scale = torch.log2(rest.std(dim=0).clamp(min=1e-3) * math.sqrt(3) / math.pi)
        rows = slice(channels + part.start, channels + part.stop)
        net["out_condition"][rows, :NUM_KINDS] = scale[:, None]


def rounded(examples: Examples, quality: Tensor) -> tuple[Tensor, Tensor]:
    """What is seen and the values themselves, as decoded at each example's quality."""
    channels = examples.targets.shape[1]
    step = (torch.tensor(STEPS) / UNITS_PER_DEVIATION)[quality][:, None]
    exists = (torch.arange(examples.seen.shape[1]) // 9) % (channels + 1) == channels
    seen = torch.where(exists, examples.seen, torch.round(examples.seen / step) * step)
    return seen, torch.round(examples.targets / step) * step


def outputs(
    net: Weights, examples: Examples, quality: Tensor, told: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, their means and log2 scales (C, n), activations of the arithmetic."""
    seen, here = (part.T for part in rounded(examples, quality))
    condition = told[examples.kinds, quality].T
    if arithmetic is INTEGER:  # they are multiples of 1/256
        seen, here, condition = (part.double() * arithmetic.one for part in (seen, here, condition))
    trunk = run_trunk(net, seen, condition, arithmetic)
    mean, scale = run_head(net, trunk, here, condition, arithmetic, slice(0, len(here)))
    return here, mean, scale


def net_bits(net: Weights, examples: Examples, quality: Tensor, told: Tensor) -> Tensor:
    """-log2 of the probability of each rounded value, (C, n)."""
    values, mean, scale = outputs(net, examples, quality, told, FLOAT)
    step = (torch.tensor(STEPS) / UNITS_PER_DEVIATION)[quality]
    spread = torch.exp2(scale.clamp(-12, 4))
    rest = (values - mean).abs()
    mass = cumulative((step / 2 - rest) / spread) - cumulative((-step / 2 - rest) / spread)
    return -torch.log2(mass.clamp(min=_LEAST_PROBABILITY))


def cumulative(x: Tensor) -> Tensor:
    """The residuals' distribution function at unit scale: the logistic one."""
    return torch.sigmoid(x)


def scale_tables() -> FrequencyTables:
    """The tables of every scale and fraction."""
    rows = []
    for index in range(NUM_SCALES):
        spread = 2.0 ** (LEAST_SCALE + index / SCALES_PER_OCTAVE)
        most = max(1, math.ceil(0.5 + spread * math.log(2 / _ESCAPED)))
        for fraction in range(NUM_FRACTIONS):
            mean = (fraction + 0.5) / NUM_FRACTIONS - 0.5
            symbols = torch.arange(-most, most + 1, dtype=torch.float64)
            rest = (symbols - mean).abs()
            mass = cumulative((0.5 - rest) / spread) - cumulative((-0.5 - rest) / spread)
            rows.append(integer_counts(np.append(mass.numpy(), max(1 - float(mass.sum()), 0))))
    return FrequencyTables.of(rows)


@torch.no_grad()
def _report(
    prior: ContextPrior,
    nets: Sequence[Weights],
    examples: Sequence[Examples],
    generator: torch.Generator,
) -> None:
    """Log what the prior costs in integers and in float, per value."""
    for quality in (24, 40, 56):
        floats, integers = compare(prior, nets, examples, quality, generator)
        _log.info("quality %d: %.4f bits in float, %.4f in integers", quality, floats, integers)
        if integers > 1.005 * floats + 0.002:
            _log.warning(
                "the prior loses %.1f%% in integers: are the latents' channels of very"
                " different scales?",
                100 * (integers / floats - 1),
            )


def compare(
    prior: ContextPrior,
    nets: Sequence[Weights],
    examples: Sequence[Examples],
    quality: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Bits per value of the float networks, and of the integer ones with their tables."""
    told, size, floats, integers = conditions(), STEPS[quality], 0.0, 0.0
    for net, frozen, each in zip(nets, prior.weights, examples, strict=True):
        if not len(each):
            continue
        drawn = each.draw(2 * _BATCH, generator)
        qualities = torch.full((len(drawn),), quality)
        floats += each.share * float(net_bits(net, drawn, qualities, told).mean())
        found = outputs(frozen, drawn, qualities, told, INTEGER)
        values, mean, scale = (part.flatten().numpy().astype(np.int64) for part in found)
        rows, offsets = to_rows(mean, scale, size)
        distribution = Signed(prior.tables, rows, offsets, largest_symbol(quality))
        integers += each.share * distribution.bits(values // size) / len(values)
    return floats, integers


def _masked(net: Weights, masks: Weights) -> dict[str, Tensor]:
    return {name: weight * masks.get(name, 1) for name, weight in net.items()}
