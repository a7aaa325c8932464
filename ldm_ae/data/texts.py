"""What a source says of an image in words: its caption and its label."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ldm_ae.errors import UserError

# Where no column is named, the first of these that a table or a sample has.
CAPTIONS = ("caption", "text", "prompt", "txt")
LABELS = ("label", "class", "cls")


@dataclass(frozen=True)
class Texts:
    """caption, label: None where the source has none. A label is the class' name where the source
    knows it, else its number as text."""

    caption: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class TextColumns:
    """Which columns, or which members of a tar's samples, hold them; None for those that are
    called so by habit."""

    caption: str | None = None
    label: str | None = None

    def among(self, names: Collection[str], label: str) -> tuple[str | None, str | None]:
        """The columns of a table, each None if there is none. Raises UserError for one that was
        named and is not there; label: what to call the table."""
        found = []
        for wanted, usual in ((self.caption, CAPTIONS), (self.label, LABELS)):
            if wanted is not None and wanted not in names:
                raise UserError(f"{label} has no column {wanted}; its columns are {sorted(names)}")
            found.append(wanted or next((name for name in usual if name in names), None))
        return found[0], found[1]

    def of(self, cells: Mapping[str, Any], label: str) -> Texts:
        """The texts in one row."""
        caption, name = self.among(cells.keys(), label)
        return Texts(_text(cells.get(caption or "")), _text(cells.get(name or "")))


def _text(cell: Any) -> str | None:
    """A cell as text: of several captions the first; of anything but text and numbers None."""
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    if isinstance(cell, bool) or not isinstance(cell, (str, int)):
        return None
    return str(cell)
