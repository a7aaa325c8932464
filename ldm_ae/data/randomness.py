"""Random numbers as pure functions of (seed, place): no state to save, none to lose.

The generator of a place depends on nothing that happened before it, so a run that is resumed,
split over ranks or given other workers draws the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

# What a generator is for; two purposes at the same (seed, place) are independent.
ORDER, VIEW, REPLACEMENT, SHARDS, WINDOW, HOLD_OUT = range(6)


def generator(seed: int, purpose: int, *place: int) -> np.random.Generator:
    """The generator of (seed, purpose, place); all non-negative integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, *place])))


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The permutation of 0..num_images-1 in which epoch `epoch` visits the images."""
    return generator(seed, ORDER, epoch).permutation(num_images)


def held_out_by_name(names: Sequence[bytes], count: int) -> np.ndarray:
    """Sorted indices of the `count` names with the least hash: it keeps as files are added."""
    hashes = np.array(
        [int.from_bytes(hashlib.blake2b(n, digest_size=8).digest(), "big") for n in names],
        dtype=np.uint64,
    )
    return np.sort(np.argsort(hashes, kind="stable")[:count])


def held_out_by_index(num_images: int, count: int) -> np.ndarray:
    """Sorted `count` different indices below `num_images`, the same for every seed."""
    rng = generator(0, HOLD_OUT, num_images)
    return np.sort(rng.choice(num_images, count, replace=False, shuffle=False))
