"""Symbols to payload and back, pass by pass of a prior."""

from __future__ import annotations

import numpy as np

from ldm_ae.codec.format.coder import SymbolDecoder, SymbolEncoder, escape_bits, to_entries
from ldm_ae.codec.format.ladder import MAX_VALUE, step
from ldm_ae.codec.priors.base import IndexPrior, LatentPrior, Shape2, Shape3


def encode_latents(symbols: np.ndarray, prior: LatentPrior, quality: int) -> bytes:
    """Symbols int64 (C, h, w) of `ladder.quantise` => payload."""
    encoder, size = SymbolEncoder(), step(quality)
    values, known = np.zeros_like(symbols), np.zeros(symbols.shape, dtype=bool)
    for index, place in enumerate(prior.places(_shape3(symbols), quality)):
        rows, offsets = prior.predict(values, known, index, quality)
        encoder.put_signed(prior.tables, rows, symbols[place].ravel() - offsets)
        values[place] = symbols[place] * size
        known[place] = True
    assert known.all()
    return encoder.finish()


def decode_latents(payload: bytes, prior: LatentPrior, shape: Shape3, quality: int) -> np.ndarray:
    """Payload => symbols int64 (C, h, w). Raises ValueError for bytes that cannot be a payload."""
    decoder, size = SymbolDecoder(payload), step(quality)
    most = MAX_VALUE // size
    symbols = np.zeros(shape, dtype=np.int64)
    values, known = np.zeros_like(symbols), np.zeros(shape, dtype=bool)
    places = prior.places(shape, quality)
    for index, place in enumerate(places):
        rows, offsets = prior.predict(values, known, index, quality)
        found = decoder.take_signed(prior.tables, rows) + offsets
        if len(found) and max(-found.min(), found.max()) > most:
            raise ValueError(f"the payload is corrupt: a symbol lies outside -{most}..{most}")
        symbols[place] = found.reshape(symbols[place].shape)
        if index + 1 < len(places):
            values[place] = symbols[place] * size
            known[place] = True
    decoder.finish()
    return symbols


def latent_bits(symbols: np.ndarray, prior: LatentPrior, quality: int) -> float:
    """The cross-entropy of `encode_latents`' choices in bits: what a perfect coder would write."""
    values, known = np.zeros_like(symbols), np.zeros(symbols.shape, dtype=bool)
    total = 0.0
    for index, place in enumerate(prior.places(_shape3(symbols), quality)):
        rows, offsets = prior.predict(values, known, index, quality)
        entries, excess = to_entries(prior.tables, rows, symbols[place].ravel() - offsets)
        total += float(prior.tables.bits(rows, entries).sum()) + escape_bits(excess)
        values[place] = symbols[place] * step(quality)
        known[place] = True
    return total


def encode_indices(indices: np.ndarray, prior: IndexPrior) -> bytes:
    """Code indices int64 (h, w) => payload."""
    encoder = SymbolEncoder()
    values, known = np.zeros_like(indices), np.zeros(indices.shape, dtype=bool)
    for index, place in enumerate(prior.places(_shape2(indices))):
        found = prior.predict(values, known, index)
        if isinstance(found, np.ndarray):
            encoder.put(prior.tables, found, indices[place].ravel())
        else:
            encoder.put_each(found, indices[place].ravel())
        values[place] = indices[place]
        known[place] = True
    assert known.all()
    return encoder.finish()


def decode_indices(payload: bytes, prior: IndexPrior, shape: Shape2) -> np.ndarray:
    """Payload => code indices int64 (h, w). Raises ValueError for bytes that cannot be one."""
    decoder = SymbolDecoder(payload)
    values, known = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    for index, place in enumerate(prior.places(shape)):
        found = prior.predict(values, known, index)
        if isinstance(found, np.ndarray):
            taken = decoder.take(prior.tables, found)
        else:
            taken = decoder.take_each(found)
        values[place] = taken.reshape(values[place].shape)
        known[place] = True
    decoder.finish()
    return values


def index_bits(indices: np.ndarray, prior: IndexPrior) -> float:
    """The cross-entropy of `encode_indices`' choices in bits."""
    values, known = np.zeros_like(indices), np.zeros(indices.shape, dtype=bool)
    total = 0.0
    for index, place in enumerate(prior.places(_shape2(indices))):
        found, entries = prior.predict(values, known, index), indices[place].ravel()
        if isinstance(found, np.ndarray):
            total += float(prior.tables.bits(found, entries).sum())
        else:
            start = 0
            for part in found:
                chosen = part[np.arange(len(part)), entries[start : start + len(part)]]
                total += float((np.log2(part.sum(axis=1)) - np.log2(chosen)).sum())
                start += len(part)
        values[place] = indices[place]
        known[place] = True
    return total


def _shape3(symbols: np.ndarray) -> Shape3:
    channels, height, width = symbols.shape
    return channels, height, width


def _shape2(indices: np.ndarray) -> Shape2:
    height, width = indices.shape
    return height, width
