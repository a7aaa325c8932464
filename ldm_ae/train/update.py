"""One optimizer update: clip, check, step, clear."""

from __future__ import annotations

from torch import Tensor

from ldm_ae.train.non_finite import Evidence, NonFiniteError, finite_means
from ldm_ae.train.state import Trained, TrainState

Terms = dict[str, float]  # what an update says of itself, for the logs


def checked_update(state: TrainState, trained: Trained, evidence: list[Evidence]) -> Terms:
    """Returns the terms' means over the micro-batches and `grad_norm`, the gradient's norm before
    clipping.

    Raises NonFiniteError on every rank, before the update and with gradients cleared, if a term
    of `evidence` or the gradient is not finite on any. In fp16 the gradient is the loss scaler's
    to judge: it leaves out such updates itself while it looks for its scale.
    """
    scaler, optimizer = state.accelerator.scaler, trained.optimizer
    try:
        if scaler is None:
            terms = finite_means(evidence, _clip(state, trained))
        else:  # before gradients are unscaled, which is done once
            terms = finite_means(evidence, None)
            terms["grad_norm"] = float(_clip(state, trained))
    except NonFiniteError:
        optimizer.zero_grad(set_to_none=True)
        raise
    optimizer.step()
    if scaler is not None and scaler.get_scale() < 1:
        raise FloatingPointError(
            "fp16 gradients overflow at every loss scale down to 1: use train.precision=bf16"
        )
    optimizer.zero_grad(set_to_none=True)
    return terms


def _clip(state: TrainState, trained: Trained) -> Tensor:
    """clip_norm 0 clips nothing."""
    limit = state.config.clip_norm or float("inf")
    norm = state.accelerator.clip_grad_norm_(trained.module.parameters(), limit)
    assert norm is not None
    return norm
