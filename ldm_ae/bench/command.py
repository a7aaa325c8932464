"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ldm_ae import zoo
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that a script's docstring describes."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_models(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        required=required,
        metavar="[NAME=]DIR",
        help="a model's folder, or the name of one of the package's; may be repeated",
    )


def named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """Name -> folder, from `NAME=DIR`, or `DIR`, which is then named after its last part.

    Raises UserError for a name that comes twice.
    """
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        place = folder if equals else argument
        path = zoo.folder_of(place) or Path(place)
        name = name if equals else path.resolve().name
        if name in folders:
            raise UserError(f"--model {argument}: a second {name}; say --model OTHER_NAME={path}")
        folders[name] = path
    return folders


def finish(reader: Reader) -> None:
    """The last line of a script: it ends with an error where the reader had to leave images out."""
    with one_line_errors():
        reader.finish()


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """What a user can mend, a UserError or an OSError that names a file, ends with one line and
    exit code 2, as a verb's does."""
    try:
        yield
    except UserError as error:
        raise _ending(error) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise _ending(error) from error


def _ending(error: Exception) -> SystemExit:
    text = f"error: {error}"
    print(text, file=sys.stderr)
    ending = SystemExit(text)
    ending.code = 2
    return ending
