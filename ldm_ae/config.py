"""Reads YAML and dotted overrides into frozen dataclasses, and writes them back.

The only file that imports yaml or pydantic. Scalars stay text until the dataclass' type decides:
so `no` is not False, `1e-4` is a number and `1_000` is an integer, in a file and on the command
line alike. Unknown keys and wrong types are reported all at once.
"""

import copy
import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ldm_ae.config_keys import suggestion
from ldm_ae.errors import UserError
from ldm_ae.files import printable

T = TypeVar("T")

SHIPPED = Path(__file__).with_name("configs")

# Annotates a union of dataclasses whose field `kind` says which of them is meant.
TAGGED_BY_KIND = Field(discriminator="kind")


# Sizes that a config may ask for; more is a slip, and would be met as a lack of memory or of time.
Width = Annotated[int, Field(le=1 << 16)]
Depth = Annotated[int, Field(le=64)]
NumCodes = Annotated[int, Field(le=1 << 24)]
_GREATEST_NUMBER, _GREATEST_INTEGER = 1e9, 2**63 - 1
_MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """YAML whose only typed scalar is null, whose keys come once, and without aliases: a few of
    them can stand for any amount of memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _at(self.peek_event(), "an alias: write its value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a key that is no word")
            if key.value in seen:
                raise _at(key, f"the key {key.value} comes twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _at(place: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, place.start_mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def find_config(given: str | Path) -> Path:
    """A YAML file, or the config of that name that ships with the package: `kl_f8`, and also
    `configs/kl_f8.yaml`, its place in the package, from whatever folder it is asked.

    Raises UserError, with the names that resemble it, for what is neither.
    """
    path = Path(given)
    if path.is_file():
        return path
    names = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    if path.parent in (Path(), Path("configs")) and path.name.removesuffix(".yaml") in names:
        return SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml"
    close = difflib.get_close_matches(path.stem, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"those are {', '.join(names)}"
    raise UserError(f"config {given} is neither a file nor one that ships with ldm_ae; {hint}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in the YAML file that `find_config` finds, scalars as text; UserError if it
    holds none."""
    path = find_config(path)
    source = printable(str(path))
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{source} has more than {_MAX_BYTES} bytes: it is no config")
    content = _parse(path.read_bytes(), f"{source} is not valid YAML")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{source} holds {type(content).__name__}, expected a mapping of keys")
    return content


def read_typed_yaml(path: Path) -> dict[str, Any]:
    """As `read_yaml`, with scalars of YAML's own types: to be shown, not to be built from."""
    if not read_yaml(path):
        return {}
    typed: dict[str, Any] = yaml.safe_load(path.read_bytes())
    return typed


def _parse(text: str | bytes, problem: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise UserError(f"{problem}: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        # Tags such as !!int and !!timestamp take whatever text stands there.
        reason = printable(" ".join(str(error).split()))
        raise UserError(f"{problem}: {reason or type(error).__name__}") from error


def apply_overrides(content: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Set `a.b=value` pairs in a nested mapping, in order; values are YAML."""
    for override in overrides:
        key, equals, text = override.partition("=")
        override = printable(override[:100])
        if not equals or not key:
            raise UserError(f"override {override!r} is not of the form key.subkey=value")
        *parents, last = key.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"override {override!r}: {parent!r} is a value, not a section")
        node[last] = _parse(text, f"override {override!r}: the value is not valid YAML")
    return content


def build(schema: type[T], content: dict[str, Any], source: str) -> T:
    """A dataclass from a nested mapping; UserError lists every mistake by its dotted key.

    A schema with a method `upgrade` first turns a mapping of earlier versions into today's, and
    one with `removed`, dotted keys that are gone and the value each had where it was off, goes on
    reading files that have them at that value.
    """
    content = _without_removed(content, getattr(schema, "removed", {}), source)
    content = getattr(schema, "upgrade", dict)(content)
    schema.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]
    try:
        built = TypeAdapter(schema).validate_python(content)
        _require_usable(plain(built), source)
        return built
    except RecursionError as error:
        raise UserError(f"{source} is nested too deeply") from error
    except ValidationError as error:
        lines = [_explain(item, content, schema) for item in error.errors()]
        raise UserError(f"{source}:\n" + "\n".join(f"  {line}" for line in lines)) from error


def _without_removed(
    content: dict[str, Any], removed: Mapping[str, Any], source: str
) -> dict[str, Any]:
    content, wrong = copy.deepcopy(content), []
    for key, off in removed.items():
        given = _pop(content, key)
        kind = tuple[float, ...] if isinstance(off, tuple) else type(off)
        try:
            if given is not None and TypeAdapter(kind).validate_python(given) == off:
                given = None
        except ValidationError:
            pass
        if given is not None:
            wrong.append(f"  {key}={given}: this switch is gone; remove the key")
    if wrong:
        raise UserError("\n".join([f"{source}:", *wrong]))
    return content


def _pop(content: dict[str, Any], key: str) -> Any:
    """Take a dotted key out, and sections that are empty without it; None where there is none."""
    name, dot, rest = key.partition(".")
    if not dot:
        return content.pop(name, None)
    section = content.get(name)
    if not isinstance(section, dict):
        return None
    value = _pop(section, rest)
    if not section:
        del content[name]
    return value


def _dotted(location: tuple[Any, ...], content: Any) -> str:
    """A pydantic location as the user's key: without the tags that it adds for unions."""
    parts = []
    for i, part in enumerate(location):
        known = not isinstance(content, dict) or part in content
        if known or i == len(location) - 1:
            parts.append(str(part))
            content = content.get(part) if isinstance(content, dict) else None
    return ".".join(parts)


def _explain(item: Any, content: Any, schema: type) -> str:
    key = _dotted(item["loc"], content)
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        hint = suggestion(schema, key) or "; remove it or check its spelling"
        return f"{key}: unknown key{hint}"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if isinstance(item["input"], (dict, list)) or item["type"].startswith("missing"):
        return f"{key}: {item['msg']}"
    return printable(f"{key}={str(item['input'])[:200]}: {item['msg']}")


def _require_usable(value: Any, source: str, key: str = "") -> None:
    """Raise UserError for numbers that no setting can mean, and single precision cannot hold."""
    for name, part in value.items() if isinstance(value, dict) else ():
        _require_usable(part, source, f"{key}.{name}" if key else str(name))
    for part in value if isinstance(value, list) else ():
        _require_usable(part, source, key)
    if isinstance(value, int | float):
        limit = _GREATEST_INTEGER if isinstance(value, int) else _GREATEST_NUMBER
        if abs(value) > limit:
            raise UserError(f"{source}:\n  {key}={value}: use a number of at most {limit:g}")


def load(schema: type[T], path: str | Path, overrides: list[str] | None = None) -> T:
    """Read a config file and overrides such as `train.lr=1e-4` into `schema`."""
    return build(schema, apply_overrides(read_yaml(path), overrides or []), f"config {path}")


def dump(config: Any) -> str:
    """The resolved config as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


def plain(value: Any) -> Any:
    """A dataclass as nested mappings, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
