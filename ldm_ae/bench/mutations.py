"""What hostile hands do to a file: its bytes damaged, or its structure kept and its values odd."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class Target:
    """whole: files as they should be. hostile: makes one of them hostile. read: what a user's
    program does with its bytes; raises UserError for what it refuses."""

    whole: list[bytes]
    hostile: Callable[[list[bytes], Random], bytes]
    read: Callable[[bytes], object]


def example_picture() -> np.ndarray:
    """uint8 (48, 72, 4)."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


# What a parser may not expect in the place of a value.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**40,
    2**70,
    10**400,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "abc",
    "a\x1b[2J\nb",
    "\ud800",
    "x" * 10_000,
    "../elsewhere",
    [],
    {},
    [[1]],
    ["a", {}],
    {"a": []},
    [0] * 1000,
)


def damaged(whole: list[bytes], rng: Random, header: int = 22) -> bytes:
    """One of the files with one to three kinds of damage, half of the small hits in its first
    bytes, where they mean most."""
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 4)):
        choice, place = rng.integers(8), int(rng.integers(len(data) + 1))
        if choice == 0:
            data = data[:place]
        elif choice == 1:
            data[place:place] = rng.bytes(int(rng.integers(1, 40)))
        elif choice == 2:
            other = whole[rng.integers(len(whole))]
            data[place:] = other[int(rng.integers(len(other))) :]
        elif choice == 3:
            size = int(rng.integers(1, 16))
            data[place : place + size] = bytes([rng.choice([0, 255])]) * size
        elif choice == 4:
            del data[place : place + int(rng.integers(1, 16))]
        elif len(data):
            place = int(rng.integers(min(len(data), header if choice < 7 else len(data))))
            data[place] ^= int(rng.integers(1, 256)) if choice == 5 else 1 << int(rng.integers(8))
    return bytes(data)


def odd_tree(tree: Any, rng: Random) -> Any:
    """A nested value with one to three of its parts replaced, removed, added or nested deep."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.integers(1, 4)):
        holder, key = _place(tree, rng)
        choice = rng.integers(8)
        if holder is None:
            return _odd(rng)
        if choice == 0:
            del holder[key]
        elif choice == 1 and isinstance(holder, dict):
            holder[f"key{rng.integers(100)}"] = _odd(rng)
        else:
            holder[key] = _odd(rng)
    return tree


def _place(tree: Any, rng: Random) -> tuple[Any, Any]:
    """A random part of a tree, as what holds it and its key there."""
    places: list[tuple[Any, Any]] = []

    def note(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                note(node[key])

    if isinstance(tree, (dict, list)):
        note(tree)
    return places[rng.integers(len(places))] if places else (None, None)


def _odd(rng: Random) -> Any:
    if rng.integers(12) == 0:
        deep: Any = 1
        for _ in range(int(rng.integers(10, 150))):
            deep = [deep] if rng.integers(2) else {"a": deep}
        return deep
    return copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])


def odd_json(tree: Any, rng: Random) -> bytes:
    """An odd tree as JSON, or JSON that is not well formed."""
    text = json.dumps(odd_tree(tree, rng)).encode()
    choice = rng.integers(8)
    if choice == 0:
        return damaged([text], rng, len(text))
    if choice == 1:
        return text.replace(b": ", b": " + b"[" * int(rng.integers(1, 100_000)), 1)
    if choice == 2:
        return text.replace(b"0", b"1e400")
    return text


_YAML = (
    b"!!int x",
    b"!!python/name:os.system ''",
    b"!!binary x",
    b"!!set {a}",
    b"&a [*a]",
    b"*a",
    b"<<: *b",
    b"[[[[",
    b": :",
    b"? [a]\n: b",
    b"|",
    b"'",
    b"---\n",
    b"%YAML 9",
    b"\t",
    b"\x00",
    b"\xff",
)


def odd_yaml(tree: Any, rng: Random) -> bytes:
    """An odd tree as YAML (JSON is a part of it), with a piece of YAML's own set in perhaps."""
    text = odd_json(tree, rng)
    if rng.integers(2):
        place = int(rng.integers(len(text) + 1))
        text = text[:place] + _YAML[rng.integers(len(_YAML))] + text[place:]
    return text


def odd_safetensors(whole: list[bytes], rng: Random) -> bytes:
    """A safetensors file with an odd header of the right length, or damaged as any other."""
    data = whole[rng.integers(len(whole))]
    if rng.integers(2):
        return damaged(whole, rng, 400)
    length = int.from_bytes(data[:8], "little")
    header = odd_json(json.loads(data[8 : 8 + length]), rng)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
