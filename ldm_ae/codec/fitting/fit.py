"""Fits the entropy model of a kind to latents or code indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ldm_ae.codec.fitting.context import fit_context
from ldm_ae.codec.fitting.counts import fit_factorised, fit_index_counts
from ldm_ae.codec.fitting.index import fit_index_context
from ldm_ae.codec.priors.base import Prior
from ldm_ae.errors import UserError

Kind = Literal["factorised", "context"]
CONTEXT_STEPS = 500


def fit_prior(
    samples: Sequence[np.ndarray],
    kind: Kind,
    *,
    codes: np.ndarray | None = None,
    steps: int = CONTEXT_STEPS,
    seed: int = 0,
) -> Prior:
    """The prior of latents (C, h, w), or with `codes` (K, d) of indices (h, w), of any sizes.

    kind: `factorised` counts and takes a second; `context` fits small networks by as many
    gradient steps, in about 20 seconds of one core. Raises UserError for no samples, values or
    codes that do not vary or are not finite.
    """
    if not samples:
        raise UserError("no image came: there is nothing to fit a prior to")
    if not all(np.isfinite(item).all() for item in samples):
        raise UserError("the latents are not finite: the weights are broken")
    if codes is None:
        if kind == "factorised":
            return fit_factorised(samples)
        return fit_context(samples, steps, seed)
    if kind == "factorised":
        return fit_index_counts(samples, len(codes))
    return fit_index_context(samples, codes, steps, seed)
