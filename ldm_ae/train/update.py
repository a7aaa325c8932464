"""One optimizer update: clip, check, step, clear."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_ae.train.non_finite import Evidence, NonFiniteError, require_finite


def checked_update(
    accelerator: Accelerator,
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    clip_norm: float,
    evidence: list[Evidence],
) -> Tensor:
    """Returns the gradient's norm before clipping. clip_norm 0 clips nothing.

    Raises NonFiniteError on every rank, before the update and with gradients cleared, if a term
    of `evidence` or the gradient is not finite on any. In fp16 the gradient is the loss scaler's
    to judge: it leaves out such updates itself while it looks for its scale.
    """
    scaler = accelerator.scaler
    try:
        if scaler is not None:
            require_finite(evidence, None)  # before gradients are unscaled, which is done once
        norm = _clip(accelerator, network, clip_norm)
        if scaler is None:
            require_finite(evidence, norm)
    except NonFiniteError:
        optimizer.zero_grad(set_to_none=True)
        raise
    optimizer.step()
    if scaler is not None and scaler.get_scale() < 1:
        raise FloatingPointError(
            "fp16 gradients overflow at every loss scale down to 1: use train.precision=bf16"
        )
    optimizer.zero_grad(set_to_none=True)
    return norm.detach()


def _clip(accelerator: Accelerator, network: nn.Module, clip_norm: float) -> Tensor:
    limit = clip_norm if clip_norm > 0 else float("inf")
    norm = accelerator.clip_grad_norm_(network.parameters(), limit)
    assert norm is not None
    return norm
