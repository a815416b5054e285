"""Read the two files of a federation: which nodes there are, and which models they serve.

They are YAML or JSON (by the name's ending), and read strictly: unknown fields, duplicate keys, aliases of
YAML and values of another type are refused, and sizes are limited. ``nodes.schema.json`` and
``models.schema.json`` beside this module describe the same for editors; a test compares them with these
classes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from proofcompute.client.interface import Interface
from proofcompute.encoding.files import read_limited
from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import MIB

__all__ = [
    "Audits",
    "ModelEntry",
    "ModelsFile",
    "NodeEntry",
    "NodesFile",
    "read_models",
    "read_nodes",
    "schemas",
]

MAX_FILE: Final = 4 * MIB
"""Bytes of a file of a federation."""
MAX_NODES: Final = 4096
MAX_MODELS: Final = 256
_DEPTH: Final = 32
"""Values inside one another."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$", description="A name")]
Hex32 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="32 bytes in hexadecimal digits")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Required(_Strict):
    """What a node's terms must promise for the gateway to ask it."""

    retention: int = Field(
        default=0, ge=0, le=1 << 40, description="Least seconds for which it opens answers"
    )
    seconds: float = Field(
        default=3600.0, gt=0, le=86_400.0, description="Most seconds for opening 1,000 rows"
    )


class NodeEntry(_Strict):
    """One node."""

    name: Name
    url: str = Field(max_length=2048, description="Base URL of its interface, such as https://host:8000/v1")
    key: Hex32 = Field(description="Its public key, which must have signed every receipt")
    models: tuple[Name, ...] = Field(min_length=1, max_length=MAX_MODELS, description="Models that it serves")
    price: float = Field(
        default=0.0, ge=0, le=1e6, description="Price of a million tokens, in any one currency"
    )
    most: int = Field(default=32, ge=1, le=4096, description="Most answers of it at a time")
    api_key_env: str | None = Field(
        default=None,
        pattern="^[A-Z][A-Z0-9_]{0,63}$",
        description="Environment variable with the key to show it",
    )
    terms: Required = Field(default=Required(), description="What its terms must promise")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return Interface(value).url
        except InputError as e:
            raise ValueError(str(e)) from None

    @property
    def public(self) -> bytes:
        """The public key."""
        return bytes.fromhex(self.key)

    def api_key(self) -> str | None:
        """Return the key to show the node. Raises InputError if its variable is not set."""
        if self.api_key_env is None:
            return None
        if not (found := os.environ.get(self.api_key_env)):
            raise InputError(f"node {self.name}: the environment has no {self.api_key_env}")
        return found


class NodesFile(_Strict):
    """The nodes of a federation."""

    version: Literal[1]
    nodes: tuple[NodeEntry, ...] = Field(min_length=1, max_length=MAX_NODES)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        _require_unique("name", [n.name for n in self.nodes])
        _require_unique("key", [n.key for n in self.nodes])
        return self


class Audits(_Strict):
    """Which answers are audited in the background, and how."""

    by: Literal["replay", "opening", "public"] = Field(
        description="replay: computed again with the weights; opening: cells that the node opens; "
        "public: cells that it opens with a public proof"
    )
    share: float = Field(gt=0, le=1, description="Probability with which an answer is audited")
    cells: int | Literal["all"] = Field(default=16, description="Cells that are opened")

    @field_validator("cells")
    @classmethod
    def _cells(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 1 << 20:
            raise ValueError("cells are 1 to 1048576, or all")
        return value


class ModelEntry(_Strict):
    """One model."""

    name: Name
    card: str | None = Field(default=None, max_length=4096, description="File of its card")
    model_id: Hex32 | None = Field(default=None, description="Its id; its card is fetched from a node then")
    weights: str | None = Field(
        default=None, max_length=4096, description="Model file, to compute answers again"
    )
    key: str | None = Field(default=None, max_length=4096, description="Secret key for it, to check openings")
    public: str | None = Field(
        default=None, max_length=4096, description="Public key of it, to check public proofs"
    )
    audit: Audits | None = None

    @model_validator(mode="after")
    def _held(self) -> Self:
        if (self.card is None) == (self.model_id is None):
            raise ValueError("give the card of a model or its id, and not both")
        if self.audit is None:
            return self
        if self.audit.by == "public":
            if self.public is None:
                raise ValueError("audits by public proofs take the public key")
            return self
        if self.weights is not None:
            return self
        if self.audit.by == "replay":
            raise ValueError("audits by replay take the weights")
        if self.key is None:
            raise ValueError("audits by openings take a key, or the weights")
        return self


class ModelsFile(_Strict):
    """The models of a federation."""

    version: Literal[1]
    models: tuple[ModelEntry, ...] = Field(min_length=1, max_length=MAX_MODELS)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        _require_unique("name", [m.name for m in self.models])
        return self


def _require_unique(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"two entries have the {what} {value}")


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of both files, by the names under which they lie beside this module."""
    found = {}
    for name, kind in (("nodes.schema.json", NodesFile), ("models.schema.json", ModelsFile)):
        made = kind.model_json_schema()
        found[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return found


# -- reading -----------------------------------------------------------------------------------------------
T = TypeVar("T", bound=_Strict)


def read_nodes(path: Path) -> NodesFile:
    """Read a file of nodes. Raises InputError (FormatError, LimitError) if it is none."""
    return _read(path, NodesFile)


def read_models(path: Path) -> ModelsFile:
    """Read a file of models; paths in it are made relative to it. Raises InputError as :func:`read_nodes`."""
    found = _read(path, ModelsFile)
    placed = [
        m.model_copy(
            update={
                name: str(path.parent / value)
                for name in ("card", "weights", "key", "public")
                if (value := getattr(m, name)) is not None
            }
        )
        for m in found.models
    ]
    return found.model_copy(update={"models": tuple(placed)})


def _read(path: Path, kind: type[T]) -> T:
    data = read_limited(path, MAX_FILE, "federation file")
    value = read_json(data, MAX_FILE) if path.suffix == ".json" else _read_yaml(data, path)
    try:
        return kind.model_validate_json(json.dumps(value))
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases, which can make a file of a few bytes huge, and without duplicate keys."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        self._depth += 1
        if self._depth > _DEPTH:
            raise yaml.YAMLError(f"values inside one another, more than {_DEPTH} deep")
        found: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return found

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in made:
                raise yaml.YAMLError(f"a key that is no text, or stands twice: {str(key)[:40]!r}")
            made[key] = self.construct_object(value_node, deep=True)
        return made


def _read_yaml(data: bytes, path: Path) -> Any:
    try:
        text = data.decode()
        value = yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
        json.dumps(value, allow_nan=False)
    except (yaml.YAMLError, ValueError, TypeError) as e:  # dates of YAML are no JSON
        said = " ".join(str(e).split())[:300]
        raise FormatError(f"{path} is no YAML that a federation file may be: {said}") from None
    return value
