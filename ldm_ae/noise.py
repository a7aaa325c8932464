"""Random numbers that belong to an image, not to a process.

Noise drawn from the process' own stream differs with the number of ranks and is lost on a restart.
Here every image carries an integer key, and its noise is a pure function of (key, stream): two
ranks with B images each draw exactly what one process with 2B images draws.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """A 63-bit seed from integers: splitmix64 (Steele et al. 2014) chained over the values."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state + (value & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def noise_keys(keys: Tensor, seed: int) -> Tensor:
    """Keys of images (B,) mixed with a run's seed, int64 (B,)."""
    return torch.tensor([mix(seed, key) for key in keys.tolist()], dtype=torch.int64)


def _generators(keys: Tensor, stream: int, device: torch.device) -> list[torch.Generator]:
    seeds = [mix(key, stream) for key in keys.tolist()]
    return [torch.Generator(device=device).manual_seed(seed) for seed in seeds]


def _draw(sampler: Callable[..., Tensor], like: Tensor, keys: Tensor, stream: int) -> Tensor:
    """`sampler`'s numbers for each image, in its own generator."""
    assert len(keys) == len(like), f"{len(keys)} noise keys for {len(like)} images"
    noise = [
        sampler(like.shape[1:], generator=generator, device=like.device)
        for generator in _generators(keys, stream, like.device)
    ]
    return torch.stack(noise).to(like.dtype)


def normal_noise(like: Tensor, keys: Tensor | None, stream: int = 0) -> Tensor:
    """Standard normal noise of `like`'s shape (B, ...), dtype and device.

    keys: int64 (B,), one per image; None draws from the global generator.
    """
    return torch.randn_like(like) if keys is None else _draw(torch.randn, like, keys, stream)


def uniform_noise(like: Tensor, keys: Tensor | None, stream: int = 0) -> Tensor:
    """Uniform noise in [0, 1) of `like`'s shape (B, ...), dtype and device; keys as above."""
    return torch.rand_like(like) if keys is None else _draw(torch.rand, like, keys, stream)


def gumbel_noise(like: Tensor, keys: Tensor | None, stream: int = 0) -> Tensor:
    """Standard Gumbel noise, -log(-log U), of `like`'s shape (B, ...), dtype and device."""
    if keys is None:
        exponential = torch.empty_like(like, dtype=torch.float32).exponential_()
    else:
        assert len(keys) == len(like), f"{len(keys)} noise keys for {len(like)} images"
        draws = [
            torch.empty(like.shape[1:], device=like.device).exponential_(generator=generator)
            for generator in _generators(keys, stream, like.device)
        ]
        exponential = torch.stack(draws)
    # -log U is exponential; its smallest draws may round to zero, whose logarithm is infinite.
    return -exponential.clamp_min(torch.finfo(torch.float32).tiny).log().to(like.dtype)
