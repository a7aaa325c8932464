"""Reading a store at random, for training."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ldm_ae.codec.codec import Codec
from ldm_ae.errors import UserError
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.pretrained import load_codec
from ldm_ae.store.files_layout import FilesLayout
from ldm_ae.store.layouts import Layout
from ldm_ae.store.parquet_layout import ParquetLayout, num_rows
from ldm_ae.store.parts import STATE, indexed, read_index
from ldm_ae.store.rows import Row
from ldm_ae.store.tar_layout import TarLayout

LAYOUTS: tuple[Layout, ...] = (ParquetLayout(), TarLayout(), FilesLayout())


class LatentStore(Dataset[dict[str, Any]]):
    """The rows of a store by number; a folder of parquet shards of such rows that another engine
    has written is one too.

    An item has `latents`, float32 (c, h, w), or int64 (h, w) for a codebook's indices; `id`,
    `caption` and `label` (text or None), `width` and `height` of the crop in pixels.

    sample: draw latents of stored moments from the posterior, anew each time, instead of its mode.
    scaled: (z - shift) * scaling_factor, what a diffusion model of a diffusers pipeline sees.
    codec: for coded latents, the model's that wrote them; by default the package's own.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sample: bool = False,
        scaled: bool = False,
        codec: Codec | str | Path | None = None,
    ) -> None:
        """Raises UserError for a folder without rows, and for samples of latents that are stored
        without their variance."""
        self.folder, self.sample, self.scaled = Path(folder), sample, scaled
        self._codec = codec
        self._files = self._find_files()
        self._ends = np.cumsum([number for _, number in self._files])
        if not len(self):
            raise UserError(f"{folder} holds no latents: name the folder that encode-dataset wrote")
        content = self.row(0).said["content"]
        if sample and content != "moments":
            raise UserError(f"{folder} holds {content}: encode with --latents moments to sample")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        row = self.row(number)
        return {
            "latents": self.latents(row),
            "id": row.id,
            "caption": row.caption,
            "label": row.label,
            "width": row.width,
            "height": row.height,
        }

    def row(self, number: int) -> Row:
        """All that is stored of one crop. Raises IndexError beyond the last."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        file = int(np.searchsorted(self._ends, number, side="right"))
        path, count = self._files[file]
        return _layout(path).row(path, number - (int(self._ends[file]) - count))

    def latents(self, row: Row) -> Tensor:
        """A row's latents, as an item has them."""
        said = row.said
        if said["content"] == "coded":
            stored = self.codec.latents(row.latents)[0].cpu()
        else:
            stored = row.tensor()
        if not stored.is_floating_point():
            return stored.long()
        stored = stored.float()
        if said["content"] == "moments":
            posterior = DiagonalGaussian.from_moments(stored[None])
            stored = (posterior.sample() if self.sample else posterior.mode())[0]
        if self.scaled:
            stored = (stored - said["shift_factor"]) * said["scaling_factor"]
        return stored

    @cached_property
    def codec(self) -> Codec:
        """What decodes coded latents."""
        given = self._codec
        if isinstance(given, Codec):
            return given
        return load_codec() if given is None else load_codec(given)

    @cached_property
    def labels(self) -> list[str]:
        """All labels, numbers in their own order: a label's place is its class' number."""
        found = {label for _, _, label in self._views() if label is not None}
        return sorted(found, key=lambda text: (not text.isdigit(), text.zfill(20)))

    @property
    def num_unlabelled(self) -> int:
        """Rows without a label."""
        return sum(label is None for _, _, label in self._views())

    @cached_property
    def models(self) -> set[str]:
        """The SHA-256 of the weights behind its rows: one, unless shards of another engine were put
        together."""
        return {row.model for row in self._kinds_of_rows()}

    @cached_property
    def contents(self) -> set[str]:
        """What its rows hold, `mode`, `moments`, `indices` or `coded`: one, likewise."""
        return {row.said["content"] for row in self._kinds_of_rows()}

    def _kinds_of_rows(self) -> Iterator[Row]:
        """One, where `encode-dataset` lets no second model or content in; else all."""
        claimed = indexed(self.folder)
        return (self.row(number) for number in range(1 if claimed else len(self)))

    def by_size(self) -> dict[tuple[int, int], list[int]]:
        """(width, height) of crops -> the numbers of their rows: a batch takes them from one."""
        found = defaultdict(list)
        for number, (width, height, _) in enumerate(self._views()):
            found[width, height].append(number)
        return dict(found)

    def _views(self) -> Iterator[tuple[int, int, str | None]]:
        """Size and label of every row."""
        if not indexed(self.folder):
            for number in range(len(self)):
                row = self.row(number)
                yield row.width, row.height, row.label
        for number in indexed(self.folder):
            yield from read_index(self.folder, number).views

    def summary(self) -> dict[str, Any]:
        """How much there is, and the latents' mean and deviation, of a store that is complete."""
        path = self.folder / STATE / "summary.json"
        if not path.is_file():
            raise UserError(f"{path} is missing: let encode-dataset finish")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def _find_files(self) -> list[tuple[Path, int]]:
        """Every file that is complete, and how many rows it has."""
        numbers = indexed(self.folder)
        if not numbers and not (self.folder / STATE).is_dir():
            shards = sorted(self.folder.rglob("*.parquet"))
            return [(path, num_rows(path)) for path in shards]
        files = []
        for number in numbers:
            index = read_index(self.folder, number)
            for name in index.files if index.views else ():
                files.append((self.folder / name, len(index.views) // len(index.files)))
        return files


def _layout(path: Path) -> Layout:
    for layout in LAYOUTS:
        if path.suffix == layout.ending:
            return layout
    raise UserError(f"{path}: a store has no such files")
