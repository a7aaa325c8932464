"""What the installed distribution says of itself: its version, and which extras are complete."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

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
    """The distributions that an extra asks for on this machine, those of the extras that it
    includes too."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for item in map(Requirement, lines):
        if item.marker is None or item.marker.evaluate({"extra": ""}):
            continue  # asked for without the extra, too
        if item.marker.evaluate({"extra": extra}):
            included = [name for part in item.extras for name in _required_by(part)]
            found += included if item.name == DISTRIBUTION else [item.name]
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
