"""One file, or all files of a folder, turned into others: what several verbs have in common."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from ldm_ae.data.paths import find_files
from ldm_ae.errors import UserError
from ldm_ae.files import clear_stale, is_out_of_memory, printable

LAE = ".lae"
STANDARD = Path("-")  # the standard input or output
PNG = ".png"
LOSSLESS = (PNG, ".webp", ".tif", ".tiff")  # of those that keep alpha


@dataclass(frozen=True)
class Done:
    """number: of files that were turned. failed: the others. present: those left as they were."""

    number: int
    failed: Sequence[Path] = ()
    present: int = 0

    def __str__(self) -> str:
        files = "1 file" if self.number == 1 else f"{self.number} files"
        return files + (f" ({self.present} more were there already)" if self.present else "")

    def require_all(self) -> None:
        """Raise UserError if a file failed."""
        if self.failed:
            total = self.number + len(self.failed)
            raise UserError(
                f"{len(self.failed)} of {total} files failed, as said above; the others are done"
            )


def for_each_file(
    source: Path,
    target: Path,
    suffixes: Collection[str],
    suffix: str,
    one: Callable[[Path, Path], None],
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Done:
    """Turn the file, or all files of the folder. In a folder one that fails is reported at once
    and the rest go on, unless it is the system that failed (OSError: no space, no permission).
    overwrite: else nothing is begun where a target exists. skip_existing: leave out those of a
    folder whose target is there, and as new as they are.
    Raises UserError, MemoryError or FloatingPointError for a single file, OSError for any."""
    if not source.is_dir():
        _require_new([target], overwrite)
        clear_stale(target.parent)
        one_file(source, target, one)
        return Done(1)
    if target.exists() and not target.is_dir():
        raise UserError(
            f"{target} is a file, and {source} a folder: name a folder for what is made of it"
        )
    pairs: dict[Path, Path] = {}
    for path in find_files(source, suffixes, "source"):
        place = target / path.relative_to(source).with_suffix(suffix)
        if place in pairs:
            raise UserError(f"{pairs[place]} and {path} would both become {place}: rename one")
        pairs[place] = path
    found = len(pairs)
    if skip_existing:
        pairs = {place: path for place, path in pairs.items() if not _is_done(place, path)}
    _require_new(list(pairs), overwrite)
    for folder in {place.parent for place in pairs}:
        clear_stale(folder)
    failed = []
    for place, path in tqdm(pairs.items(), unit="file"):
        try:
            one_file(path, place, one)
        except (UserError, MemoryError, FloatingPointError) as error:
            tqdm.write(f"error: {one_line(error)}", file=sys.stderr)
            failed.append(path)
    return Done(len(pairs) - len(failed), failed, found - len(pairs))


def messages(target: Path) -> TextIO:
    """Where a verb speaks: not where its file goes."""
    return sys.stderr if target == STANDARD else sys.stdout


def _is_done(place: Path, path: Path) -> bool:
    return place.is_file() and place.stat().st_mtime >= path.stat().st_mtime


@contextlib.contextmanager
def piped(source: Path, target: Path, ending: str) -> Iterator[tuple[Path, Path]]:
    """Files for `-`: one with what comes by the standard input, and one whose content goes to the
    standard output at the end, if nothing is raised; other paths as they are.
    Raises UserError for a folder that would go to the standard output."""
    with tempfile.TemporaryDirectory() as folder:
        if source == STANDARD:
            source = Path(folder) / "standard input"
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if target != STANDARD:
            yield source, target
            return
        if source.is_dir():
            raise UserError(f"{source} is a folder: name a folder for what is made of its files")
        made = Path(folder) / f"made{ending}"
        yield source, made
        sys.stdout.buffer.write(made.read_bytes())
        sys.stdout.buffer.flush()


def _require_new(targets: Sequence[Path], overwrite: bool) -> None:
    present = [] if overwrite else [target for target in targets if os.path.lexists(target)]
    if present:
        name = printable(str(present[0]))
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise UserError(f"{name}{more} would be overwritten: name another target, or add --force")


def one_file(source: Path, target: Path, one: Callable[[Path, Path], None]) -> None:
    """`one`, with the file's name in what it raises, and torch's lack of memory as MemoryError."""
    name = printable(str(source))
    try:
        one(source, target)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except FloatingPointError as error:
        raise FloatingPointError(f"{name}: {error}") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(f"{name}: a file of this name cannot be made for it") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{name}: there is not enough memory for a picture this large") from (
            error
        )


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return printable(str(error).splitlines()[0]) if str(error) else type(error).__name__


def require_names(source: Path, target: Path, endings: Sequence[str]) -> None:
    """Raise UserError for a source that is not there, and for one file's target that ends
    otherwise: two pictures of a shell's pattern must not end with the second overwritten."""
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if not source.is_dir() and target.suffix.lower() not in endings:
        raise UserError(f"{target}: name a file that ends in {', '.join(endings)}")


def save_picture(image: np.ndarray, path: Path) -> None:
    """uint8 (H, W, C) to a file without loss."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.save(path, lossless=True)  # WebP alone heeds it
