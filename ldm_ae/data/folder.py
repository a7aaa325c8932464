"""Image files: of folders in any layout, of a list, and the photos that scikit-image carries."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import skimage

from ldm_ae.data.formats import is_image_name
from ldm_ae.data.paths import find_images, listed
from ldm_ae.data.source import Names, Shard, Source
from ldm_ae.data.texts import TextColumns, Texts
from ldm_ae.errors import UserError
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

    def texts(self, row: int, columns: TextColumns) -> Texts:
        """The text in the `.txt` file of its name beside it; the folder that it lies in, if that
        is below `root`."""
        path, folder = Path(self.read(row)), Path(os.fsdecode(self.names[row])).parent
        try:
            caption = path.with_suffix(".txt").read_text("utf-8", "replace").strip()
        except (OSError, ValueError):
            caption = None
        label = None if folder.is_absolute() else printable(folder.name) or None
        return Texts(caption, label)

    def lasting_names(self) -> Iterable[bytes]:
        return (self.names[row] for row in range(len(self)))


def open_folder(path: str | tuple[str, ...], label: str, key: str) -> Source:
    """The images of folders and files (`listed`). Of a single folder they are named by their paths
    below it. Raises UserError as `find_images`."""
    root, places = listed(path, key)
    if len(places) == 1 and os.path.isdir(os.path.join(root, places[0])):
        folder = Path(root, places[0])
        names = [found.relative_to(folder).as_posix() for found in find_images(folder, key)]
        return _source(label, str(folder), names)
    names, entered = [], set[str]()
    for place in places:
        if is_image_name(place):  # there may be millions: whether they are there is seen when read
            names.append(place)
        else:
            found = find_images(Path(root, place), key, entered)
            names += [os.path.relpath(file, root) if root else str(file) for file in found]
    return _source(label, root, names)


def _source(label: str, root: str, names: list[str]) -> Source:
    return Source(label, (FileShard(root, Names(map(os.fsencode, names))),))


def embedded_photos(names: tuple[str, ...]) -> list[Path]:
    """The files of photos that scikit-image carries. Raises UserError where one is not there."""
    root = Path(skimage.__file__).parent / "data"
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise UserError(
            f"data.kind=embedded: the scikit-image installed at {root.parent} lacks {missing}"
        )
    return [root / name for name in names]


def open_embedded(names: tuple[str, ...]) -> Source:
    """Raises UserError as `embedded_photos`."""
    root = str(embedded_photos(names)[0].parent)
    return _source("scikit-image's photos", root, list(names))
