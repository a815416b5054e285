"""Read YAML and check values against JSON schemas, for networks whose forms are described so.

YAML of others can be dear: a few aliases stand for gigabytes. Aliases, tags and further documents are
refused, so what is read is a tree of the size of the text. Plain words mean what the core schema of YAML 1.2
says, as in other languages' readers: ``off`` is a text. A schema never fetches another, and that no two items
are equal is checked in linear time: the library compares each with all others if they are of several types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

from proofcompute.encoding.strict_json import MAX_INTEGER, MIN_INTEGER, Json
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking

__all__ = ["MAX_TEXT", "fault", "read_yaml", "write_yaml"]

MAX_TEXT: Final = 1 << 18
"""The most bytes of a text in YAML."""
_MAX_DEPTH: Final = 32
"""Mappings and sequences inside one another."""


_PLAIN: Final = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"0|[-+]?[1-9][0-9]*|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
}
"""What plain words stand for, by type, with the characters that they begin with."""


def _yaml(extra: str) -> Any:
    try:
        return import_module("yaml")
    except ModuleNotFoundError as e:
        raise lacking(e, "reading and writing YAML", extra) from e


@cache
def _loader(yaml: Any) -> Any:
    """Return the class that reads YAML by the core schema of version 1.2."""
    made: Any = type("CoreLoader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": {}})
    for name, (pattern, first) in _PLAIN.items():
        made.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first)
    return made


def read_yaml(data: bytes, limit: int = MAX_TEXT, extra: str = "akash") -> dict[str, Json]:
    """Return the mapping that a text in YAML holds.

    Raises:
        LimitError: it has more than ``limit`` bytes or nests deeper than 32.
        FormatError: it is not one YAML document with a mapping of text, or it has aliases, tags, a key twice,
            a lone surrogate, or a value that JSON does not have.
        UnsupportedError: the extra that reads YAML is missing.
    """
    if len(data) > limit:
        raise LimitError(f"the YAML text has {len(data)} bytes, the limit is {limit}")
    yaml, depth = _yaml(extra), 0
    loader = _loader(yaml)
    try:
        for event in yaml.parse(data, Loader=loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise FormatError("the YAML text has an alias or a tag, which are not read here")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise LimitError(f"the YAML text nests deeper than {_MAX_DEPTH}")
        reader = loader(data)
        node = reader.get_single_node()
        _unique(yaml, node)
        found = None if node is None else reader.construct_document(node)
    except InputError:
        raise
    # ValueError: bytes of no text, a number of too many digits. OverflowError: a character beyond 31 bits.
    except (yaml.YAMLError, ValueError, OverflowError) as e:
        raise FormatError(f"not YAML as it is read here: {e}") from e
    if not isinstance(found, dict):
        raise FormatError("the YAML text holds no mapping")
    return {_key(k): _value(v) for k, v in found.items()}


def _unique(yaml: Any, node: Any) -> None:
    """Refuse a key that is twice in one mapping: readers disagree about which of the two counts."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = getattr(key, "value", None)
            if not isinstance(name, str) or name in seen:
                raise FormatError(
                    f"the YAML text has the key {str(name)[:64]!r} twice, or one that is no text"
                )
            seen.add(name)
            _unique(yaml, value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _unique(yaml, each)


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise FormatError(f"the YAML text has the key {_shown(key)}, which is no text; write it in quotes")
    return _text(key)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError("the YAML text has a lone surrogate") from None
    return text


def _shown(value: object) -> str:
    # Python refuses to write an integer of many digits, which hexadecimal ones may have.
    return repr(value) if not isinstance(value, int) or _fits(value) else "an integer beyond 64 bits"


def _fits(value: int) -> bool:
    return MIN_INTEGER <= value <= MAX_INTEGER


def _value(value: object) -> Json:
    if isinstance(value, dict):
        return {_key(k): _value(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and _fits(value):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    raise FormatError(f"the YAML text has {_shown(value)}, which is not read here; write it in quotes")


def write_yaml(value: Mapping[str, Json], extra: str = "akash") -> bytes:
    """Return a mapping as YAML, in its own order. Raises UnsupportedError if the extra is missing."""
    yaml = _yaml(extra)
    text: str = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=110)
    return text.encode()


def fault(value: Json, schema: Mapping[str, Any], extra: str = "akash") -> str | None:
    """Return where a value does not fit a JSON schema and why, or None if it fits.

    Raises FormatError if the schema is none, refers to one elsewhere or to itself without end,
    UnsupportedError if the extra is missing.
    """
    try:
        jsonschema = import_module("jsonschema")
        referencing = import_module("referencing")
    except ModuleNotFoundError as e:
        raise lacking(e, "checking against a JSON schema", extra) from e
    if not isinstance(schema.get("$schema", ""), str):
        raise FormatError("the schema is none that is read here: its $schema is no text")
    kind = _linear(jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator))
    try:
        kind.check_schema(schema)
        # An empty registry retrieves nothing, where the usual one would ask the network.
        found = kind(schema, registry=referencing.Registry()).iter_errors(value)
        first = next(iter(found), None)
    except (jsonschema.SchemaError, referencing.exceptions.Unresolvable) as e:
        raise FormatError(f"the schema is none that is read here: {str(e).splitlines()[0]}") from e
    except RecursionError as e:  # values are at most 32 deep
        raise FormatError("the schema is none that is read here: it refers to itself without end") from e
    if first is None:
        return None
    return f"{first.json_path}: {first.message[:200]}"


@cache
def _linear(kind: Any) -> Any:
    """Return a class of validators that looks for equal items in linear time."""
    jsonschema = import_module("jsonschema")

    def unique(validator: Any, asked: bool, items: Any, schema: Any) -> Iterator[Any]:
        if asked and validator.is_type(items, "array") and len(set(map(_same, items))) < len(items):
            yield jsonschema.ValidationError("two items are equal")

    return jsonschema.validators.extend(kind, {"uniqueItems": unique})


def _same(value: Json) -> object:
    """Return a key that values share if a schema takes them for equal: 1 and 1.0 do, 1 and true do not."""
    if isinstance(value, dict):
        return dict, frozenset((name, _same(each)) for name, each in value.items())
    if isinstance(value, list):
        return list, tuple(map(_same, value))
    return isinstance(value, bool), value
