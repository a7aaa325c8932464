"""Named tensors in files: their shapes first, each value when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ldm_ae.convert.weights import current_shape
from ldm_ae.errors import UserError
from ldm_ae.weights_file import read_checkpoint, read_pickled

_SHOWN = 5

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Tensors:
    """source: what messages call them. value: reads one of them."""

    source: Path
    shapes: Shapes
    value: Callable[[str], Tensor]


def in_safetensors(source: Path, files: list[Path]) -> Tensors:
    """Raises UserError for a broken file."""
    shapes, places = {}, {}
    for path in files:
        with _reading(source), safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118, it is no mapping
                shapes[name] = tuple(opened.get_slice(name).get_shape())
                places[name] = path

    def value(name: str) -> Tensor:
        with _reading(source), safe_open(places[name], framework="pt") as opened:
            found: Tensor = opened.get_tensor(name)
            return found

    return Tensors(source, shapes, value)


class _reading:
    """A context in which a broken file is a UserError."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, (SafetensorError, OSError)):
            raise UserError(f"{self.source} has a broken safetensors file: {error}") from error


def in_pickle(path: Path, strangers: bool = False) -> Tensors:
    """Of a state dict. strangers: or of a whole training's checkpoint, with objects of classes
    that are not here. Raises UserError as `read_pickled` and `read_checkpoint`."""
    stored = read_checkpoint(path) if strangers else read_pickled(path)
    shapes = {name: tuple(value.shape) for name, value in stored.items()}
    return Tensors(path, shapes, stored.__getitem__)


def read_state(
    found: Tensors,
    names: Mapping[str, str],
    expected: Shapes,
    stored_name: Callable[[str], str] = str,
    fitting: str = "its config.json",
) -> dict[str, Tensor]:
    """The weights by today's diffusers names, fp32.

    names: of what is stored, each with its name today. expected: all that there must be, and
    nothing else. stored_name: what a missing one would be called here. fitting: what asks for
    them. Raises UserError that lists
    missing and unexpected names and wrong shapes, before a value is read, and for numbers that are
    no floats.
    """
    stored: dict[str, str] = {}
    unexpected = []
    for old, name in names.items():
        if name not in expected:
            unexpected.append(old)
        elif name in stored:
            unexpected.append(f"{old} beside {stored[name]}")
        else:
            stored[name] = old
    missing = [stored_name(name) for name in expected if name not in stored]
    wrong = []
    for name, old in stored.items():
        shape = current_shape(name, found.shapes[old])
        if shape != expected[name]:
            wrong.append(f"{old} {shape} instead of {expected[name]}")
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", wrong))
        if names
    ]
    if problems:
        raise UserError(
            f"the weights of {found.source} do not fit {fitting}: {'; '.join(problems)}"
        )
    return {name: _fp32(found, old, expected[name]) for name, old in stored.items()}


def _fp32(found: Tensors, name: str, shape: tuple[int, ...]) -> Tensor:
    value = found.value(name)
    if not value.is_floating_point():
        raise UserError(
            f"{found.source}: {name} is {value.dtype}; quantised weights are not supported"
        )
    return value.to(torch.float32).reshape(shape)
