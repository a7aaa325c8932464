"""What follows a NaN or an infinity: the run stops, or leaves the update out, on every rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ldm_ae.quantizers.base import Quantizer

NonFinitePolicy = Literal["stop", "skip"]


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


def quantizer_state(quantizer: Quantizer | None) -> dict[str, Tensor]:
    """A copy of what a forward pass itself moves: codes and their moving averages."""
    if quantizer is None:
        return {}
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def restore_quantizer(quantizer: Quantizer | None, state: dict[str, Tensor]) -> None:
    if quantizer is not None and state:
        quantizer.load_state_dict(state)
