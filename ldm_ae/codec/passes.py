"""The one walk over a prior's passes, which encodes, decodes or counts bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ldm_ae.codec.format.coder import Decoder, Encoder
from ldm_ae.codec.priors.base import Place, Prior
from ldm_ae.codec.priors.distributions import Distribution


def walk(
    prior: Prior,
    shape: tuple[int, ...],
    quality: int,
    code: Callable[[Place, Distribution], np.ndarray],
) -> np.ndarray:
    """Pass after pass, `code` says which symbols (n,) a place has; returns all, int64."""
    symbols = np.zeros(shape, dtype=np.int64)
    for place, distribution in prior.passes(symbols, quality):
        here = symbols[place]  # a view: what is written here, the next pass knows
        here[...] = code(place, distribution).reshape(here.shape)
    return symbols


def encode(
    prior: Prior, wanted: np.ndarray, quality: int, lagrangian: float = 0
) -> tuple[np.ndarray, bytes]:
    """Latents in steps, float64 (C, h, w), or code indices int64 (h, w) => symbols, payload.

    lagrangian: lambda of `Signed.choose`, squared steps a bit; 0 takes the nearest symbols, so
    that whole numbers are coded as they are.
    """
    encoder = Encoder()

    def code(place: Place, distribution: Distribution) -> np.ndarray:
        chosen = distribution.choose(wanted[place].ravel(), lagrangian)
        distribution.put(encoder, chosen)
        return chosen

    return walk(prior, wanted.shape, quality, code), encoder.finish()


def decode(prior: Prior, payload: bytes, shape: tuple[int, ...], quality: int) -> np.ndarray:
    """Payload => symbols int64. Raises UserError for bytes that cannot be one."""
    decoder = Decoder(payload)
    symbols = walk(prior, shape, quality, lambda _, distribution: distribution.take(decoder))
    decoder.finish()
    return symbols


def cross_entropy(prior: Prior, symbols: np.ndarray, quality: int) -> float:
    """Bits that a perfect coder would write for these symbols."""
    total = 0.0

    def code(place: Place, distribution: Distribution) -> np.ndarray:
        nonlocal total
        here = symbols[place].ravel()
        total += distribution.bits(here)
        return here

    walk(prior, symbols.shape, quality, code)
    return total
