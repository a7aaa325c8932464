"""Image files: of folders in any layout, of a list, and the photos that scikit-image carries."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import skimage

from ldm_ae.data.paths import find_images
from ldm_ae.data.source import Names, Shard, Source
from ldm_ae.files import printable

# Colour photos inside scikit-image's wheel, none of them fetched. The stereo pair (motorcycle)
# is on the training side as a whole.
EMBEDDED_TRAIN = (
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
EMBEDDED_VALIDATION = ("chelsea.png", "coffee.png")


@dataclass(frozen=True)
class FileShard(Shard):
    """Files by their paths, as the system spells them; a name is a path below `root`."""

    root: str
    names: Names

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return printable(os.fsdecode(self.names[row]))

    def read(self, row: int) -> str:
        return os.path.join(self.root, os.fsdecode(self.names[row]))

    def lasting_names(self) -> Iterable[bytes]:
        return (self.names[row] for row in range(len(self)))


def open_folder(root: Path, key: str) -> Source:
    """Raises ValueError as `find_images`."""
    files = (path.relative_to(root).as_posix() for path in find_images(root, key))
    return Source(str(root), (FileShard(str(root), Names(map(os.fsencode, files))),))


def embedded_photos(names: tuple[str, ...]) -> list[Path]:
    """The files of photos that scikit-image carries. Raises ValueError where one is not there."""
    root = Path(skimage.__file__).parent / "data"
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise ValueError(
            f"data.kind=embedded: the scikit-image installed at {root.parent} lacks {missing}"
        )
    return [root / name for name in names]


def open_embedded(names: tuple[str, ...]) -> Source:
    """Raises ValueError as `embedded_photos`."""
    root = str(embedded_photos(names)[0].parent)
    shard = FileShard(root, Names(name.encode() for name in names))
    return Source("scikit-image's photos", (shard,))
