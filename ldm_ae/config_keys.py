"""Every key of a config with its type, default and meaning, read off the dataclasses themselves."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union


@dataclass(frozen=True)
class Key:
    """name: dotted. kind: of the section's variant that has it, such as `vq`, or empty. values: its
    type in words. default: as in YAML, empty where the key must be given. about: from the
    docstring of the dataclass."""

    name: str
    kind: str
    values: str
    default: str
    about: str


def keys(schema: type, prefix: str = "", kind: str = "") -> Iterator[Key]:
    """In the order of the dataclasses, those of sections after a dataclass' own."""
    hints = typing.get_type_hints(schema, include_extras=True)
    about, nested = _about(schema), list[tuple[str, list[Any]]]()
    for field in dataclasses.fields(schema):
        name = f"{prefix}.{field.name}" if prefix else field.name
        parts: tuple[Any, ...] = _parts(hints[field.name])
        sections: list[Any] = [part for part in parts if dataclasses.is_dataclass(part)]
        if sections:
            nested.append((name, sections))
        else:
            values, default = _values(hints[field.name]), _default(field)
            yield Key(name, kind, values, default, about.get(field.name, ""))
    for name, sections in nested:
        for section in sections:
            of = kind
            if len(sections) > 1:
                of = str(next(f.default for f in dataclasses.fields(section) if f.name == "kind"))
            yield from keys(section, name, of)


def suggestion(schema: type, name: str) -> str:
    """` (did you mean a.b?)` for a dotted key that is not there, or nothing."""
    last = name.rpartition(".")[2]
    alike = {
        other: max(_likeness(name, other), _likeness(last, other.rpartition(".")[2]))
        for other in dict.fromkeys(key.name for key in keys(schema))
    }
    close = sorted((other for other in alike if alike[other] > 0.8), key=lambda o: -alike[o])
    return f" (did you mean {' or '.join(close[:2])}?)" if close else ""


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, without annotations."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _parts(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return tuple(part for member in typing.get_args(hint) for part in _parts(member))
    return (hint,)


def _values(hint: Any) -> str:
    return " or ".join(dict.fromkeys(_one(part) for part in _parts(hint)))


def _one(part: Any) -> str:
    origin, arguments = typing.get_origin(part), typing.get_args(part)
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (tuple, list):
        return "list of " + _values(arguments[0])
    words = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return "`null`" if part is type(None) else words.get(part, getattr(part, "__name__", str(part)))


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _yaml(field.default_factory())
    return "" if field.default is dataclasses.MISSING else _yaml(field.default)


def _yaml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:_}" if isinstance(value, int) else str(value)


def _about(schema: type) -> dict[str, str]:
    """What docstrings say as `name: ...` or `name, other: ...`, of base classes too."""
    found: dict[str, str] = {}
    for each in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        text = " ".join(inspect.cleandoc(each.__doc__ or "").split())
        names = "|".join(field.name for field in dataclasses.fields(each))
        starts = list(re.finditer(rf"(?:^|(?<=[.:] ))((?:{names})(?:, (?:{names}))*): ", text))
        ends = [match.start() for match in starts[1:]] + [len(text)]
        for match, end in zip(starts, ends, strict=False):
            for name in match[1].split(", "):
                found[name] = text[match.end() : end].strip()
    return found


def page(schema: type, heading: str) -> str:
    """All of them as Markdown: a table for each section, and for what only some kinds have."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for key in keys(schema):
        kinds.setdefault((key.name, key.values, key.default, key.about), []).append(key.kind)
    tables: dict[str, list[str]] = {}
    for (name, values, default, about), of in kinds.items():
        section = name.rpartition(".")[0] or "The file itself"
        if any(of):
            section += f", kind {', '.join(f'`{kind}`' for kind in of)}"
        cells = (f"`{name}`", values, f"`{default}`" if default else "", about)
        line = "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        tables.setdefault(section, []).append(line)
    head = "| key | values | default | |\n| --- | --- | --- | --- |\n"
    parts = [f"## {section}\n\n{head}" + "\n".join(lines) for section, lines in tables.items()]
    return "\n\n".join([f"# {heading}", *parts]) + "\n"
