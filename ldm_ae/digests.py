"""SHA-256 of a folder's files, kept beside them: what the disk gave back is what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.json_file import read_json

DIGESTS = "digests.json"


class DamagedError(UserError):
    """A file is not what it was when it was written."""


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests_json(digests: Mapping[str, str]) -> bytes:
    """The content of `digests.json` for files of these names, with a digest of its own."""
    files = dict(sorted(digests.items()))
    return json.dumps({"sha256": files, "these": _of_all(files)}, indent=2).encode() + b"\n"


def write_digests(folder: Path) -> None:
    """Note the digests of every file that is there."""
    digests = {path.name: _of_file(path) for path in folder.iterdir() if path.name != DIGESTS}
    (folder / DIGESTS).write_bytes(digests_json(digests))


def verify(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compare files with what `digests.json` says of them, all of them if no names are given.

    A folder without digests, as earlier versions wrote, passes, and so do names it does not know.
    Raises DamagedError that names the file.
    """
    noted = digests(folder)
    for name in noted if names is None else noted.keys() & set(names):
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{path} is missing")
        if _of_file(path) != noted[name]:
            raise DamagedError(
                f"{path} is damaged, or was changed after it was written: its SHA-256 is not that"
                f" in {DIGESTS}. Restore it, or remove {DIGESTS} if the change was meant"
            )


@contextlib.contextmanager
def amending(folder: Path, name: str) -> Iterator[None]:
    """Around the replacement of one file. A kill leaves no digest of it, never a false one."""
    noted = digests(folder)
    if noted:
        _replace(folder, {key: value for key, value in noted.items() if key != name})
    yield
    if noted:
        _replace(folder, {**noted, name: _of_file(folder / name)})


def _replace(folder: Path, digests: Mapping[str, str]) -> None:
    with replacing(folder / DIGESTS) as aside:
        aside.write_bytes(digests_json(digests))


def digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 as noted, none in a folder without. Raises DamagedError."""
    path = folder / DIGESTS
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except UserError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    noted = content.get("sha256")
    if not isinstance(noted, dict) or _of_all(noted) != content.get("these"):
        raise DamagedError(f"{path} is damaged: it does not have its own digest")
    return noted


def _of_all(digests: Mapping[str, str]) -> str:
    return digest_of(json.dumps(digests, sort_keys=True).encode())


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
