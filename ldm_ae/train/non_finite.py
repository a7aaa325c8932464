"""NaN and infinity: found before an update, named, and answered alike on every rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ldm_ae.data.batch import Batch
from ldm_ae.distributed import gather_from_ranks, sum_over_ranks
from ldm_ae.quantizers.base import Quantizer

NonFinitePolicy = Literal["stop", "skip"]
_MAX_NAMES = 8


class NonFiniteError(FloatingPointError):
    """A loss term or a gradient is NaN or infinite; raised on every rank, before the update."""


@dataclass
class Guard:
    """What follows a non-finite loss or gradient.

    policy: `stop` raises; `skip` leaves the update out and counts it, but raises after more than
        `limit` in a row. notes: what was skipped, for whoever prints.
    """

    policy: NonFinitePolicy = "stop"
    limit: int = 10
    num_skipped: int = 0
    num_in_a_row: int = 0
    notes: list[str] = field(default_factory=list)

    def skip(self, error: NonFiniteError) -> None:
        """Count one update that is left out; raise `error` if it must not be."""
        if self.policy == "stop":
            raise error
        self.num_skipped += 1
        self.num_in_a_row += 1
        if self.num_in_a_row > self.limit:
            raise NonFiniteError(
                f"{error}. This was update {self.num_in_a_row} in a row to be skipped, and"
                f" train.max_skipped={self.limit}"
            ) from error
        self.notes.append(f"update skipped: {error}")

    def take_notes(self) -> list[str]:
        notes, self.notes = self.notes, []
        return notes


@dataclass(frozen=True)
class Evidence:
    """One micro-batch: what went in, what came out, and the scalar terms of its loss."""

    batch: Batch
    outputs: Tensor
    terms: dict[str, Tensor]


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


def quantizer_state(quantizer: Quantizer | None) -> dict[str, Tensor]:
    """A copy of what a forward pass itself moves: codes and their moving averages."""
    if quantizer is None:
        return {}
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def restore_quantizer(quantizer: Quantizer | None, state: dict[str, Tensor]) -> None:
    if quantizer is not None and state:
        quantizer.load_state_dict(state)
