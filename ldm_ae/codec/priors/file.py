"""`prior.safetensors`: an entropy model beside the model whose latents it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ldm_ae.codec.priors.base import Prior
from ldm_ae.codec.priors.context import ContextPrior
from ldm_ae.codec.priors.counts import FactorisedPrior, IndexCounts
from ldm_ae.codec.priors.index import ContextIndexPrior
from ldm_ae.digests import amending, verify
from ldm_ae.errors import UserError
from ldm_ae.files import replacing

PRIOR_FILE = "prior.safetensors"
EARLIER_PRIORS = "prior.*.safetensors"  # replaced ones, by the digest of the files they decode
FORMAT_VERSION = "1"
_MAX_BYTES = 1 << 26  # a larger file is no prior, and is not read

PRIORS: dict[str, type[Prior]] = {
    prior.name: prior for prior in (FactorisedPrior, ContextPrior, IndexCounts, ContextIndexPrior)
}


def prior_bytes(prior: Prior) -> bytes:
    """The file's content."""
    metadata = {"prior": prior.name, "format": FORMAT_VERSION}
    arrays = {name: np.ascontiguousarray(value) for name, value in prior.to_arrays().items()}
    return save(arrays, metadata)


def save_prior(prior: Prior, folder: Path) -> Path:
    """Write `prior.safetensors` into a model's folder, whole or not at all; returns its path."""
    with amending(folder, PRIOR_FILE), replacing(folder / PRIOR_FILE) as aside:
        aside.write_bytes(prior_bytes(prior))
    return folder / PRIOR_FILE


def earlier_prior(folder: Path, digest: bytes) -> Path:
    """Where the prior is kept that files of this digest need, once another has its place."""
    return folder / EARLIER_PRIORS.replace("*", digest.hex())


def load_prior(folder: Path, name: str = PRIOR_FILE) -> Prior:
    """The prior in a model's folder. Raises UserError if there is none, or one that is broken,
    of a later format, or of a kind that this version does not know."""
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"{folder} has no {PRIOR_FILE}: fit one with `ldm-ae calibrate {folder} --images DIR`"
        )
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES} bytes: it is no prior")
    verify(folder, [name])
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    kind, version = metadata.get("prior"), metadata.get("format")
    if version != FORMAT_VERSION or kind not in PRIORS:
        raise UserError(
            f"{path} holds the prior {kind!r} of format {version!r}; known are format"
            f" {FORMAT_VERSION!r} of {', '.join(map(repr, PRIORS))}: calibrate again"
        )
    try:
        return PRIORS[kind].from_arrays(arrays)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
