"""Weights out of files that strangers made: named tensors of finite numbers, no larger than their
file."""

from __future__ import annotations

import contextlib
import pickletools
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.strangers import full_name, stand_ins

# What a pickled state dict is made of. torch's own list for weights_only also has `bytearray` and
# tensor classes, which take whatever memory a few bytes ask for.
_ALLOWED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage|torch\.storage \w+Storage|torch Size"
)
# What else a training's checkpoint may be made of by that list, small whatever is asked of it.
_SYSTEM = ("os", "posix", "nt", "sys")  # torch lets nothing stand in for them
_SMALL = re.compile(
    r"_codecs encode|(builtins|__builtin__) (set|complex)|collections Counter"
    r"|torch (device|float\d+|bfloat16|u?int\d+|bool)"
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors` file, or of any other as torch pickled them.

    Raises UserError for a file that cannot be read, holds something else, or numbers that are not
    finite.
    """
    if path.suffix != ".safetensors":
        weights = read_pickled(path, legacy=True)
    else:
        try:
            weights = load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read as safetensors: {error}") from error
    require_finite(weights, path)
    return weights


def read_pickled(path: Path, legacy: bool = False) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, as views of the file; nothing else is built, and no
    code runs. legacy: also the format before torch 1.6, whose memory is not bounded by its size.

    Raises UserError for anything else than named tensors, and for tensors that lie in more memory
    than the file has.
    """
    with _unpickling(path):
        whole = zipfile.is_zipfile(path)
        if whole:
            _require_tensors_alone(path, _plain_pickle(path))
        stored = torch.load(
            path, map_location="cpu", weights_only=True, mmap=whole or not legacy or None
        )
    return _named_tensors(path, stored)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, or under `state_dict` in the checkpoint of a whole
    training, as Lightning's are: what objects of foreign classes it holds beside, which `stand_ins`
    take the place of, is passed over, and no code of theirs runs.

    Raises UserError as `read_pickled`; a file of the format before torch 1.6 must be of tensors
    and numbers alone.
    """
    with _unpickling(path):
        whole = zipfile.is_zipfile(path)
        strangers: list[tuple[type, str]] = []
        if whole:
            pickled = _plain_pickle(path)
            foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            _require_tensors_alone(path, pickled, foreign)
            strangers = stand_ins(pickled, foreign)
        with torch.serialization.safe_globals(list(strangers)):
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=whole or None)
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    return _named_tensors(path, stored)


@contextlib.contextmanager
def _unpickling(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # unpickling broken bytes raises anything
        raise UserError(f"{path} cannot be read as tensors: {_first_line(error)}") from error


def _named_tensors(path: Path, stored: Any) -> dict[str, Tensor]:
    """Raises UserError unless that is all there is, in no more memory than the file has."""
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()
    ):
        raise UserError(f"{path} holds something else than named tensors")
    size = path.stat().st_size
    needed = sum(value.numel() * value.element_size() for value in stored.values())
    if needed > size:
        raise UserError(
            f"{path} has {size} bytes and asks for tensors of {needed}: they overlap, as no saved"
            " model's do"
        )
    return dict(stored)


def require_finite(weights: Any, source: object) -> None:
    """Raise UserError that names the first tensor, of a mapping nested at will, with a NaN or an
    infinity."""
    name = _not_finite(weights)
    if name is not None:
        raise UserError(
            f"{source}: {name} holds numbers that are not finite (NaN or infinity): the file is"
            " damaged, or the training behind it had diverged; use other weights"
        )


def _not_finite(value: Any) -> str | None:
    if isinstance(value, Tensor):
        return "" if value.is_floating_point() and not bool(value.isfinite().all()) else None
    parts: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return None
    for key, part in parts:
        found = _not_finite(part)
        if found is not None:
            return f"{key}.{found}".removesuffix(".")
    return None


def _plain_pickle(path: Path) -> bytes:
    """The pickle in an archive. Raises UserError if its entries are packed or overlap, and unless
    there is one."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise UserError(f"{path} has packed or overlapping entries, which torch.save never has")
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{path} holds {len(pickles)} pickles, where torch.save writes one")
        return archive.read(pickles[0])


def _require_tensors_alone(
    path: Path, pickled: bytes, foreign: Collection[str] | None = None
) -> None:
    """Raise UserError for a pickle that builds anything else. foreign: full names that something
    inert stands in for, so that they, and what is small, may come."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name not in ("GLOBAL", "INST") or _ALLOWED.fullmatch(str(argument)):
            continue
        name = full_name(str(argument))
        known = _SMALL.fullmatch(str(argument)) or name in (foreign or ())
        if foreign is None or not known or name.partition(".")[0] in _SYSTEM:
            raise UserError(f"{path} cannot be read as tensors: it asks for {name}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
