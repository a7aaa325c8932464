"""What a store is made of: which pictures, which crops of them, which model, how its latents are
written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import OPENERS
from ldm_ae.data.source import Source
from ldm_ae.data.texts import TextColumns
from ldm_ae.errors import UserError
from ldm_ae.store.files_layout import FilesLayout
from ldm_ae.store.layouts import Layout
from ldm_ae.store.parquet_layout import ParquetLayout
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.tar_layout import TarLayout
from ldm_ae.store.views import Views

LayoutName = Literal["parquet", "tar", "files"]


@dataclass(frozen=True)
class Job:
    """layout: `parquet` or `tar` (WebDataset) shards of `shard_size` pictures each, or `files`,
    one .safetensors a picture by the names and keys that kohya's trainers look for.
    architecture: the word for the model in those names."""

    data: DataConfig
    model: ModelChoice
    views: Views = field(default_factory=Views)
    storage: Storage = field(default_factory=Storage)
    columns: TextColumns = field(default_factory=TextColumns)
    layout: LayoutName = "parquet"
    architecture: str = "ldm_ae"
    shard_size: int = 512
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.shard_size < 1 or self.batch_size < 1:
            raise UserError(
                f"shard size {self.shard_size}, batch size {self.batch_size}: both must be at"
                " least 1"
            )
        if self.layout == "files" and self.views.count > 1:
            raise UserError(
                f"{self.views.count} crops of each picture: a file holds one; use shards"
            )
        if self.layout == "files" and self.storage.content != "mode":
            raise UserError(f"files hold latents, not {self.storage.content}: use shards")

    def open_source(self) -> Source:
        """Raises UserError as the openers do, who know what the source may lack."""
        return OPENERS[self.data.kind](self.data, "IMAGES")

    @property
    def files(self) -> Layout:
        """How its rows are written."""
        if self.layout == "files":
            return FilesLayout(self.architecture)
        return ParquetLayout() if self.layout == "parquet" else TarLayout()

    def fingerprint(self, model: dict[str, Any]) -> dict[str, Any]:
        """What must be equal for two runs to write in one store. model: its facts. Batches,
        threads and devices change the last bits alone, and may differ."""
        data = self.data
        place = data.path if data.path is None else _resolved(data.path)
        return {
            "images": {"kind": data.kind, "place": place or [data.name, data.subset, data.split]},
            "views": asdict(self.views),
            "storage": asdict(self.storage),
            "layout": [self.layout, self.architecture],
            "shard_size": self.shard_size,
            "columns": asdict(self.columns),
            "model": model,
        }


def _resolved(path: str | tuple[str, ...]) -> list[str]:
    places = [path] if isinstance(path, str) else list(path)
    return [place if "://" in place else str(Path(place).resolve()) for place in places]
