"""The models that come with the package: by name, or by the digest in a file they wrote.

A versioned name means the same weights for ever once it was in a release; a bare one means the
newest version. What the default codec once compressed, a later package still opens.
"""

import json
from functools import cache
from pathlib import Path

from ldm_ae.errors import UserError

FOLDER = Path(__file__).parent / "weights" / "zoo"
INDEX = "index.json"  # of digests
DEFAULT_CODEC = "codec"
FINE_CODEC = "codec-fine"
DEFAULT_QUALITY = 34  # of the default codec, after which its pictures gain little
FINE_FROM = 0.15  # bits per pixel, from which the finer codec is ahead (docs/codec.md)


@cache
def names() -> dict[str, Path]:
    """Each name, versioned and bare, and its folder, an export."""
    versioned = sorted(
        (path for path in FOLDER.glob("*-*") if (path / "config.json").is_file()),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )
    newest = {path.name.rpartition("-")[0]: path for path in versioned}
    return {path.name: path for path in versioned} | newest


def folder_of(model: str | Path) -> Path | None:
    """The folder of a model's name; None for any other text, and for every Path: a folder of the
    user's that has a model's name is `Path("kl")` or `./kl`."""
    return names().get(model) if isinstance(model, str) else None


def require_own(model: Path) -> None:
    """Raise UserError for a path that is none, but the name of a model of the package: what would
    change it, or call it the user's, takes a copy."""
    if not model.exists() and str(model) in names():
        raise UserError(
            f"{model} is a model of the package, which stays as it is: copy it by `ldm-ae convert"
            f" {model} FOLDER` and name the folder"
        )


def codec_for(bpp: float | None) -> str:
    """The codec of the package that is best at a rate."""
    return DEFAULT_CODEC if bpp is None or bpp < FINE_FROM else FINE_CODEC


def written_by(digest: bytes) -> Path | None:
    """The folder of the model that .lae files of this digest were written with, if it is here."""
    path = FOLDER / INDEX
    digests = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    name = digests.get(digest.hex())
    return None if name is None else names()[name]


def named(digest: bytes) -> str:
    """A digest in hexadecimal, with the name of the model that has it where it is one of these."""
    known = written_by(digest)
    return digest.hex() + (f" ({known.name})" if known else "")
