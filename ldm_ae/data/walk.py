"""The files below a folder: each folder entered once, hidden and system names passed over."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ldm_ae.files import printable

# What systems keep beside the user's own files: thumbnails, resource forks, bins, snapshots.
SYSTEM_NAMES = frozenset(
    (
        "@eaDir",
        "#recycle",
        "#snapshot",
        "$RECYCLE.BIN",
        "System Volume Information",
        "__MACOSX",
        "lost+found",
    )
)


@dataclass
class Walk:
    """files: below the folder, sorted, links to files among them.
    returning: folders that were entered by another way, and links to what holds the root itself.
    unread: what could not be read, and why: folders without permission, links to nothing."""

    files: list[Path] = field(default_factory=list)
    returning: list[Path] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over. What this package writes aside before
    it renames it begins with a dot too."""
    return name.startswith(".") or name in SYSTEM_NAMES


def walk(root: Path, entered: set[str] | None = None) -> Walk:
    """Every file below `root`. A folder that links lead to counts under its own name where it lies
    below `root` too, else under the first link's.

    entered: the real paths of folders that are not entered again; those entered here are added.
    """
    found = Walk()
    start = os.path.realpath(root)
    entered = set() if entered is None else entered
    if start in entered:
        found.returning.append(root)
        return found
    entered.add(start)
    folders, links = [(root, start)], list[Path]()
    while folders or links:
        if folders:
            folder, real = folders.pop()
        else:  # the folders proper are done
            links.sort(reverse=True)
            folder = links.pop()
            real = os.path.realpath(folder)
            if real in entered or Path(start).is_relative_to(real):
                found.returning.append(folder)
                continue
            entered.add(real)
        for entry in _entries(folder, found):
            place = folder / entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    inner = os.path.join(real, entry.name)
                    if inner not in entered:
                        entered.add(inner)
                        folders.append((place, inner))
                    else:
                        found.returning.append(place)
                elif entry.is_dir():
                    links.append(place)
                elif entry.is_file():
                    found.files.append(place)
                elif entry.is_symlink():
                    found.unread.append(f"{printable(str(place))}: the link leads nowhere")
            except OSError as error:  # links in a circle, a disk that fails
                found.unread.append(f"{printable(str(place))}: {error.strerror}")
    found.files.sort()
    return found


def _entries(folder: Path, found: Walk) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        found.unread.append(f"{printable(str(folder))}: {error.strerror}")
        return []
