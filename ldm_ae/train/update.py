"""One optimizer update: clip, check, step, clear. What is not finite is found before, and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.distributed import gather_from_ranks, sum_over_ranks
from ldm_ae.train.non_finite import NonFiniteError
from ldm_ae.train.state import RunState, Trained

Terms = dict[str, float]  # what an update says of itself, for the logs
_MAX_NAMES = 8


@dataclass(frozen=True)
class Evidence:
    """One micro-batch: what went in, what came out, and the scalar terms of its loss."""

    batch: Batch
    outputs: Tensor
    terms: dict[str, Tensor]


def checked_update(state: RunState, trained: Trained, evidence: list[Evidence]) -> Terms:
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


def _clip(state: RunState, trained: Trained) -> Tensor:
    """clip_norm 0 clips nothing."""
    limit = state.config.clip_norm or float("inf")
    norm = state.accelerator.clip_grad_norm_(trained.module.parameters(), limit)
    assert norm is not None
    return norm


def finite_means(evidence: list[Evidence], norm: Tensor | None) -> dict[str, float]:
    """Each term's mean over this rank's micro-batches, and the gradient's norm as `grad_norm`.

    Raises NonFiniteError on every rank if a term or the norm of any rank is not finite. All of it
    leaves the device in one transfer.
    """
    names = list(evidence[0].terms)
    values = [item.terms[name].detach() for item in evidence for name in names]
    values += [norm.detach()] if norm is not None else []
    scalars = torch.stack([value.double() for value in values])
    is_bad = 1.0 - torch.isfinite(scalars).all().double()
    *numbers, num_bad_ranks = torch.stack([*scalars, sum_over_ranks(is_bad)]).tolist()
    if num_bad_ranks:
        texts = gather_from_ranks(_describe(evidence, norm) if is_bad else "")
        raise NonFiniteError("; ".join(text for text in texts if text))
    means = {
        name: sum(numbers[i : len(names) * len(evidence) : len(names)]) / len(evidence)
        for i, name in enumerate(names)
    }
    return means if norm is None else {**means, "grad_norm": numbers[-1]}


def _describe(evidence: list[Evidence], norm: Tensor | None) -> str:
    names = dict.fromkeys(
        name for item in evidence for name, value in item.terms.items() if not _finite(value)
    )
    if len(names) > 1:
        names.pop("loss", None)  # the sum of the others
    what = f"non-finite {', '.join(names)}" if names else f"a gradient norm of {float(norm)}"  # type: ignore[arg-type]
    in_pixels = _names(evidence, [item.batch.images for item in evidence])
    if in_pixels:
        return f"{what}; images that are not finite themselves: {in_pixels}"
    in_outputs = _names(evidence, [item.outputs for item in evidence])
    if in_outputs:
        return f"{what}; reconstructions that are not finite: {in_outputs}"
    everything = [name for item in evidence for name in item.batch.names]
    return f"{what}; all images and reconstructions are finite, among: {_shorten(everything)}"


def _names(evidence: list[Evidence], tensors: Iterable[Tensor]) -> str:
    """Names of the images whose own tensor (B, ...) is not finite."""
    found = [
        name
        for item, tensor in zip(evidence, tensors, strict=True)
        for name, row in zip(item.batch.names, tensor, strict=True)
        if not _finite(row)
    ]
    return _shorten(found)


def _shorten(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
