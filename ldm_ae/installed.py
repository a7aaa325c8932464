"""What the installed distribution says of itself: its version, and which extras are complete."""

from __future__ import annotations

import re
from importlib import metadata

DISTRIBUTION = "ldm-ae"


def version() -> str:
    """Of the installed distribution; of a tree that was never installed, `0+unknown`."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def require_extra(extra: str) -> None:
    """Raise MissingExtraError, which says what to install, unless all that the extra `train`,
    `bench`, ... asks for is there. A tree that was never installed passes: it names no extras."""
    missing = [name for name in _required_by(extra) if not _is_installed(name)]
    if missing:
        raise MissingExtraError(
            f'{", ".join(missing)} not installed: pip install "{DISTRIBUTION}[{extra}]"'
        )


class MissingExtraError(ImportError):
    """An optional dependency is needed and not there."""


def _required_by(extra: str) -> list[str]:
    """The distributions that an extra asks for, those of the extras that it includes too."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if not re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker):
            continue
        name = re.match(r"[\w.-]+", requirement)
        included = re.match(rf"{DISTRIBUTION}\[([\w,]+)\]", requirement)
        assert name is not None
        found += (
            [item for part in included[1].split(",") for item in _required_by(part)]
            if included
            else [name[0]]
        )
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
