"""Objects in a pickle whose classes are not here, or not to be trusted: something inert in the
place of each, so that the tensors beside them can be read and nothing of theirs runs."""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

_MARK = object()
_FILLS = {"SETITEM": "dict", "SETITEMS": "dict", "APPEND": "list", "APPENDS": "list"}


def full_name(argument: str) -> str:
    """Of a pickle's GLOBAL, `module name`, in today's Python, as torch reads it."""
    module, _, name = argument.partition(" ")
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    else:
        module = IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


def stand_ins(pickled: bytes, names: Collection[str]) -> list[tuple[type, str]]:
    """For `torch.serialization.safe_globals`: a class that does nothing for each of these full
    names, which takes items or entries where the pickle gives it some."""
    filled = _how_filled(pickled)
    return [(_inert(name, filled.get(name)), name) for name in names]


def _inert(name: str, filled: str | None) -> type:
    base: type = list if filled == "list" else object

    class Inert(base):
        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            # torch fills plain mappings alone
            return OrderedDict() if filled == "dict" else super().__new__(cls)

        def __init__(self, *arguments: Any, **named: Any) -> None:
            pass

        def __setstate__(self, state: Any) -> None:
            pass

    Inert.__name__ = Inert.__qualname__ = name
    return Inert


def _how_filled(pickled: bytes) -> dict[str, str]:
    """Of globals whose objects get items: `dict` or `list`. Follows the pickle's stack with names
    of globals in the place of objects, None for all others."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    filled: dict[str, str] = {}
    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
            continue
        taken = _take(stack, operation)
        if name == "GLOBAL":
            stack.append(full_name(str(argument)))
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _FILLS or name in ("NEWOBJ", "REDUCE", "BUILD"):
            if name in _FILLS and taken[0] is not None:
                filled[taken[0]] = _FILLS[name]
            stack.append(taken[0])  # an object goes by the name of its class
        else:
            stack.extend([None] * len(operation.stack_after))
    return filled


def _take(stack: list[Any], operation: pickletools.OpcodeInfo) -> list[Any]:
    """Off the stack, what an operation takes."""
    taken: list[Any] = []
    before = operation.stack_before
    if pickletools.stackslice in before:
        while stack[-1] is not _MARK:
            taken.insert(0, stack.pop())
        stack.pop()
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.insert(0, stack.pop())
    return taken
