"""What to train on, and how crops are taken from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ldm_ae.config import Width
from ldm_ae.data.bounds import BOUNDS, Bounds
from ldm_ae.errors import UserError
from ldm_ae.files import printable

SourceKind = Literal["folder", "parquet", "tar", "arrow", "hub", "embedded"]
Places = str | tuple[str, ...]  # a list stays one in YAML
# Which of path, name and subset a kind reads; all others read the path.
_READ: dict[str, tuple[str, ...]] = {"hub": ("name", "subset"), "embedded": ()}


@dataclass(frozen=True)
class DataConfig:
    """The training and validation images.

    kind, path: `folder` (any layout below `path`), `parquet` or `tar` (WebDataset shards: a
        file, a folder of them, a glob, braces such as `{000..127}`, or URLs), `arrow` (a folder
        that `save_to_disk` of `datasets` wrote; `split`, if it holds several), `hub` (`name`,
        `subset`, `split`), `embedded` (scikit-image's bundled photos). A path may be a list of
        paths, or a text file (`.txt`) with one a line, relative to its folder.
    name, subset, split: of a data set on the hub.
    image_column: of parquet and hub data; found by itself where only one column holds images.
        Of tar shards, the extension of a sample's image (`jpg`, `seg.png`); `*.jpg` where each
        such file is a sample of its own, whatever dots are in its name.
    streaming: read parquet, tar, arrow and hub data front to back, without a local copy.
    stream_lanes: how many places of a stream are read at once, in turn. Best a multiple of
        ranks x workers, so that no two of them read the same bytes.
    shuffle_window: images of one lane that are shuffled among each other; 1 for none. It
        costs `stream_lanes * shuffle_window` encoded images of memory.
    size: the side of a training crop, in pixels. channels: 1 grey, 3 RGB, 4 RGBA.
    crop: `random` cuts `size` px without resampling. `random_resized` cuts a square of
        random side and resamples it. Pixels are never enlarged unless the image itself is smaller
        than `size`. min_scale: the least share of the largest square's area.
    min_side: images with a shorter short side are skipped; by default `size` for `random`
        and `size // 2` for `random_resized`.
    flip: mirror every second crop, at random.
    max_pixels, max_side: larger images are skipped before they are decoded.
    num_workers: processes that decode and crop beside each rank; 0 does it in the rank itself.
    cache_mb: keep a source decoded in memory if it fits in this, once per rank.
    validation_path, validation_kind: a validation source of its own (kind as `kind` if not
        given), of which at most `validation_count` images are used, 0 for all. Without it,
        `validation_count` images are held out of the training source, the same ones for
        every seed. Embedded photos have a held-out set of their own.
    validation_count: of validation images; 0 for none.
    validation_crop: `resized` scales the short side to `size` and cuts the centre (the usual
        ImageNet protocol); `centre` cuts the centre `size` px without resampling.
    """

    kind: SourceKind = "folder"
    path: Places | None = None
    name: str | None = None
    subset: str | None = None
    split: str = "train"
    image_column: str | None = None
    streaming: bool = False
    stream_lanes: Width = 16
    shuffle_window: int = 1
    size: Width = 256
    channels: int = 3
    crop: Literal["random_resized", "random"] = "random_resized"
    min_scale: float = 0.1
    min_side: int | None = None
    flip: bool = True
    num_workers: Width = 2
    cache_mb: int = 512
    max_pixels: int = BOUNDS.max_pixels
    max_side: int = BOUNDS.max_side
    validation_path: Places | None = None
    validation_kind: SourceKind | None = None
    validation_count: int = 16
    validation_crop: Literal["resized", "centre"] = "resized"

    def __post_init__(self) -> None:
        needed = {"hub": "name", "embedded": None}.get(self.kind, "path")
        if needed is not None and not getattr(self, needed):
            raise UserError(f"data.{needed} is not set: data.kind={self.kind} needs it")
        for key in ("path", "name", "subset"):
            if getattr(self, key) is not None and key not in _READ.get(self.kind, ("path",)):
                raise UserError(
                    f"data.{key}={getattr(self, key)} with data.kind={self.kind}, which does not"
                    " read it: leave it out, or set data.kind to what is there"
                )
        for key in ("path", "validation_path"):
            _require_text(key, getattr(self, key))
        if self.streaming and self.kind not in ("parquet", "tar", "arrow", "hub"):
            raise UserError(
                f"data.streaming=true with data.kind={self.kind}: only parquet, tar, arrow and hub"
                " data stream"
            )
        kind = self.validation_kind or self.kind
        if self.validation_path is not None and kind in ("hub", "embedded"):
            raise UserError(
                f"data.validation_path={self.validation_path} with data.kind={self.kind}: set"
                " data.validation_kind to what is there: folder, parquet, tar or arrow"
            )
        for key in ("size", "stream_lanes", "shuffle_window", "max_pixels", "max_side"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key}={getattr(self, key)}: must be at least 1")
        for key in ("num_workers", "cache_mb", "validation_count"):
            if getattr(self, key) < 0:
                raise UserError(f"data.{key}={getattr(self, key)}: must not be negative")
        if self.channels not in (1, 3, 4):
            raise UserError(f"data.channels={self.channels}: use 1 (grey), 3 (RGB) or 4 (RGBA)")
        if not 0.0 < self.min_scale <= 1.0:
            raise UserError(f"data.min_scale={self.min_scale}: must be in (0, 1]")
        if self.min_side is not None and self.min_side < 1:
            raise UserError(f"data.min_side={self.min_side}: must be at least 1")
        if self.crop == "random" and self.smallest_side < self.size:
            raise UserError(
                f"data.min_side={self.min_side}: data.crop=random needs at least data.size="
                f"{self.size}; use data.crop=random_resized for smaller images"
            )

    @property
    def places(self) -> Places:
        """The path, of a kind that has one."""
        assert self.path is not None
        return self.path

    @property
    def label(self) -> str:
        """The path, for messages."""
        if isinstance(self.places, str):
            return self.places
        others = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        return self.places[0] + others

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.max_pixels, self.max_side)

    @property
    def smallest_side(self) -> int:
        """The short side below which an image is skipped."""
        if self.min_side is not None:
            return self.min_side
        return self.size if self.crop == "random" else max(1, self.size // 2)


def _require_text(key: str, places: Places | None) -> None:
    """Raise UserError for a path that no config file can hold."""
    for place in (places,) if isinstance(places, str) else places or ():
        try:
            place.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"data.{key}={printable(place)} is not UTF-8: name it by a link to it, or list it"
                " in a text file of paths"
            ) from error
