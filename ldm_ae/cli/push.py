"""Put an exported model on the Hugging Face hub, its card with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae import zoo
from ldm_ae.convert.places import STEM
from ldm_ae.digests import DIGESTS, digest_of, digests, digests_json, verify
from ldm_ae.errors import UserError
from ldm_ae.export.training_config import TRAINING_CONFIG, without_places
from ldm_ae.hub import PREFIX, require_repository, upload

_CARD, _PLACE = "README.md", "path/to/this/folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: runs/kl_f8/export me/kl-f8 --license mit --dry-run"
    parser.add_argument("folder", type=Path, metavar="EXPORT", help="what `ldm-ae export` wrote")
    parser.add_argument("name", metavar="OWNER/MODEL", help="of the repository; made if need be")
    parser.add_argument(
        "--license", help="of the weights, as the hub names it: mit, cc-by-4.0, ..."
    )
    parser.add_argument("--private", action="store_true", help="only for you, if it is new")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent; no network")


def run(arguments: argparse.Namespace) -> None:
    files = files_to_send(arguments.folder, arguments.name, arguments.license)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{size:>12,} bytes  {name}")
    if arguments.dry_run:
        print(f"nothing was sent to {arguments.name}")
        return
    print(upload(arguments.name, files, private=arguments.private))


def files_to_send(folder: Path, name: str, license_: str | None) -> dict[str, Path | bytes]:
    """The files of an export; its card speaks of the hub's name instead of a folder, and its
    training config keeps the last part alone of each path.

    Raises UserError for what is no whole export, and for another form of name.
    """
    require_repository(name)
    zoo.require_own(folder)
    for needed in ("config.json", f"{STEM}.safetensors", _CARD):
        if not (folder / needed).is_file():
            raise UserError(f"{folder} has no {needed}: push what `ldm-ae export` wrote")
    verify(folder)
    card = (folder / _CARD).read_text(encoding="utf-8")
    card = card.replace(f'load("{_PLACE}")', f'load("{PREFIX}{name}")').replace(_PLACE, name)
    if license_ is not None:
        card = card.replace("---\n", f"---\nlicense: {license_}\n", 1)
    files: dict[str, Path | bytes] = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    changed = {_CARD: card.encode()}
    if TRAINING_CONFIG in files:
        changed[TRAINING_CONFIG] = without_places(folder / TRAINING_CONFIG).encode()
    files |= changed
    if files.pop(DIGESTS, None) is not None:
        noted = digests(folder) | {name: digest_of(sent) for name, sent in changed.items()}
        files[DIGESTS] = digests_json({key: noted[key] for key in noted.keys() & files.keys()})
    return files
