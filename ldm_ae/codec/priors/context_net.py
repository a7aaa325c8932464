"""The network behind the context priors: what known neighbours say about a position.

Two layers see the known corners of the 3x3 cells around it. For latents, a head then gives,
channel after channel, the mean and the log2 scale of the value, from the layers' features and the
channels before it at the same place; for code indices, features that the codes are weighed by.
All of it runs in float and in integers, as `Arithmetic` says; weights are matrices (out, in),
activations (in, P) with a column for each position.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ldm_ae.codec.priors.arrays import Arrays, array
from ldm_ae.codec.priors.integer_net import Arithmetic, Weights, from_integers
from ldm_ae.codec.priors.refinement import NUM_CONDITIONS, NUM_NETS, condition
from ldm_ae.errors import UserError

MAX_WIDTH = 128  # of a layer in a file: a reader's time and memory grow with it

Shapes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Sizes:
    """Units of the first and the second layer, and of each channel's layer in the head."""

    first: int = 80
    second: int = 48
    per_channel: int = 16


FITTED = Sizes()


def latent_shapes(channels: int, sizes: Sizes = FITTED) -> Shapes:
    """Of the weights for latents."""
    return _trunk_shapes(channels, channels, sizes) | {
        "head": (channels * sizes.per_channel, sizes.second),
        "head_here": (channels * sizes.per_channel, channels),
        "head_condition": (channels * sizes.per_channel, NUM_CONDITIONS),
        "out": (2 * channels, sizes.per_channel),
        "out_condition": (2 * channels, NUM_CONDITIONS),
        "mean_here": (channels, channels),
    }


def index_shapes(dimensions: int, num_features: int, sizes: Sizes = FITTED) -> Shapes:
    """Of the weights for code indices."""
    return _trunk_shapes(dimensions, num_features, sizes) | {
        "features": (num_features, sizes.second),
        "features_condition": (num_features, NUM_CONDITIONS),
    }


def _trunk_shapes(channels: int, num_linear: int, sizes: Sizes) -> Shapes:
    inputs = 9 * (4 * channels + 4)
    return {
        "first": (sizes.first, inputs),
        "first_condition": (sizes.first, NUM_CONDITIONS),
        "second": (sizes.second, sizes.first),
        "second_condition": (sizes.second, NUM_CONDITIONS),
        "linear": (num_linear, inputs),
    }


def run_trunk(
    weights: Weights, seen: Tensor, condition: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """Features (second, P) and linear sums (L, P) of what is seen, columns (9 I, P); of the inputs
    the first 9 I, since corners that are not known add nothing.

    condition: (NUM_CONDITIONS, P), or (NUM_CONDITIONS, 1) for the same at all positions.
    """
    first, linear = (weights[name][:, : len(seen)] for name in ("first", "linear"))
    hidden = arithmetic.rectify(first @ seen + weights["first_condition"] @ condition)
    sums = weights["second"] @ hidden + weights["second_condition"] @ condition
    return arithmetic.rectify(sums), linear @ seen


def run_head(
    weights: Weights,
    trunk: tuple[Tensor, Tensor],
    here: Tensor,
    condition: Tensor,
    arithmetic: Arithmetic,
    channels: slice,
) -> tuple[Tensor, Tensor]:
    """Means and log2 scales (G, P) of some channels.

    here (C, P): the values at the same place. The weights on them are zero unless the channel of
    the input belongs to an earlier group.
    """
    features, linear = trunk
    per_channel = weights["out"].shape[1]
    rows = slice(channels.start * per_channel, channels.stop * per_channel)
    sums = weights["head"][rows] @ features + weights["head_here"][rows] @ here
    hidden = arithmetic.rectify(sums + weights["head_condition"][rows] @ condition)
    hidden = rearrange(hidden, "(g r) p -> g r p", r=per_channel)
    out = rearrange(weights["out"], "(two c) r -> c two r", two=2)[channels]
    constant = rearrange(weights["out_condition"] @ condition, "(two c) p -> c two p", two=2)
    mean, scale = (out @ hidden + constant[channels]).unbind(dim=1)
    mean = mean + linear[channels] + weights["mean_here"][channels] @ here
    return arithmetic.clip(mean), arithmetic.clip(scale)


def run_features(
    weights: Weights, seen: Tensor, condition: Tensor, arithmetic: Arithmetic
) -> Tensor:
    """What is seen -> features (L, P) of which the codes' log2 probabilities are linear."""
    features, linear = run_trunk(weights, seen, condition, arithmetic)
    sums = weights["features"] @ features + weights["features_condition"] @ condition
    return arithmetic.clip(sums + linear)


def groups(channels: int) -> list[slice]:
    """Channels that are coded together: at most eight groups, one after another."""
    count = min(channels, 8)
    edges = [index * channels // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def to_arrays(nets: Sequence[Weights]) -> dict[str, np.ndarray]:
    return {
        f"net{index}.{name}": weight.numpy().astype(np.int16)
        for index, net in enumerate(nets)
        for name, weight in net.items()
    }


def sizes_of(arrays: Arrays) -> Sizes:
    """The networks' layers, but for the head's. Raises UserError for wider ones than the format
    allows."""
    second, first = array(arrays, "net0.second", np.int16, (None, None)).shape
    require_width("net0.second", second)
    require_width("net0.first", first)
    return Sizes(first, second)


def require_width(name: str, width: int) -> None:
    if width > MAX_WIDTH:
        raise UserError(f"prior: {name} has {width} units, the format allows {MAX_WIDTH}")


def from_arrays(arrays: Arrays, shapes: Shapes) -> list[Weights]:
    """The networks' weights, checked."""
    return [
        {
            name: from_integers(name, array(arrays, f"net{index}.{name}", np.int16, shape))
            for name, shape in shapes.items()
        }
        for index in range(NUM_NETS)
    ]


def told(kind: int, step_octaves: int) -> Tensor:
    """`condition` as the integer networks take it, (NUM_CONDITIONS, 1)."""
    return torch.tensor(condition(kind, step_octaves), dtype=torch.float64)[:, None]
