"""Eight bytes that stand for all that turns a file into a picture: no other codec reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ldm_ae.codec.format.container import DIGEST_BYTES
from ldm_ae.codec.priors.base import Prior
from ldm_ae.models.base import Autoencoder

# What turns symbols into a picture; the encoder may differ, its files decode all the same.
_DECODING = ("decoder.", "post_quant_conv.", "quantize.")


def model_digest(model: Autoencoder, prior: Prior) -> bytes:
    """The digest of one prior, as `model_digests`."""
    return model_digests(model, [prior])[0]


def model_digests(model: Autoencoder, priors: Sequence[Prior]) -> list[bytes]:
    """Of a model with each prior: SHA-256 over the decoder's, post_quant_conv's and codebook's
    weights, as an export has them, in order of name, and the prior; the first eight bytes."""
    decoding = hashlib.sha256()
    for name, value in sorted(model.diffusers_state().items()):
        if name.startswith(_DECODING):
            update_with_array(decoding, name, value.to("cpu", torch.float32).numpy())
    digests = []
    for prior in priors:
        digest = decoding.copy()
        update_digest(digest, prior)
        digests.append(digest.digest()[:DIGEST_BYTES])
    return digests


def update_digest(digest: hashlib._Hash, prior: Prior) -> None:
    """Add a prior to a digest: its name, then each array in order of name as name, type, shape
    and little-endian bytes."""
    digest.update(prior.name.encode())
    for name, value in sorted(prior.to_arrays().items()):
        update_with_array(digest, name, value)


def update_with_array(digest: hashlib._Hash, name: str, value: np.ndarray) -> None:
    """Add `name|type|1x2x3|` and the values, little-endian in C order, to a digest."""
    shape = "x".join(map(str, value.shape))
    digest.update(f"|{name}|{value.dtype.name}|{shape}|".encode())
    digest.update(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).data)
