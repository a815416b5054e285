"""Write a deployment of nodes for ``iocloud deploy -f`` (ionet.io/v1), and list deployed nodes for a gateway.

Its reader puts the environment's values where a text has ``${NAME}``, so every dollar sign of ours is written
twice. Secrets are named and not written: whoever deploys has them in the environment.

io.net has no part in this: it neither defines what these nodes prove nor checks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError
from proofcompute.networks.adapter import Document
from proofcompute.networks.structured import write_yaml

__all__ = ["Deployment", "describe", "gateway_nodes"]

EXTRA: Final = "ionet"
PORT: Final = 8000
"""Where a node listens in its container."""
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE: Final = re.compile(
    r"[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})"
)
_HARDWARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Replicas of a node in containers. Raises InputError for what could not be deployed."""

    name: str
    """Lower-case letters, digits and hyphens."""
    image: str
    """The container's image, with a tag or digest."""
    hardware: str
    """What io.net calls the GPU, such as ``H100``."""
    gpus: int | None = None
    """GPUs of a container; None: as many as the hardware has."""
    hours: int
    """For how long it is paid."""
    replicas: int = 1
    arguments: tuple[str, ...] = ()
    """What the image's program is given."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the container; nothing secret, as files are shared."""
    secrets: tuple[str, ...] = ()
    """Names of variables whose values the environment of the one who deploys has."""
    location: str | None = None
    node_pool: str | None = None
    """A private pool, instead of a location."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"{self.name!r} is no name of lower-case letters, digits and hyphens")
        if not _IMAGE.fullmatch(self.image):
            raise InputError(f"{self.image!r} is no image with a tag or digest")
        if not _HARDWARE.fullmatch(self.hardware):
            raise InputError(f"{self.hardware!r} is no hardware: give the name alone, such as H100")
        for name, value in (("gpus", self.gpus), ("hours", self.hours), ("replicas", self.replicas)):
            if value is not None and value < 1:
                raise InputError(f"{name}: at least 1, not {value}")
        for variable in (*self.environment, *self.secrets):
            if not _VARIABLE.fullmatch(variable):
                raise InputError(f"{variable!r} is no name of a variable")
        if set(self.environment) & set(self.secrets):
            raise InputError("a variable is secret or not")
        if self.location is not None and self.node_pool is not None:
            raise InputError("a deployment is at a location or in a pool of yours, and not both")


def _plain(text: str) -> str:
    """Return a text so that nothing of it is taken from the environment."""
    return text.replace("$", "$$")


def describe(wanted: Deployment) -> Document:
    """Return the file of a deployment. Raises UnsupportedError without the extra."""
    gpu = wanted.hardware if wanted.gpus is None else f"{wanted.hardware}:{wanted.gpus}"
    spec: dict[str, Json] = {
        "image": wanted.image,
        "gpu": gpu,
        "hours": wanted.hours,
        "replicas": wanted.replicas,
        "port": PORT,
    }
    if wanted.arguments:
        spec["args"] = [_plain(word) for word in wanted.arguments]
    if wanted.environment:
        spec["env"] = {name: _plain(value) for name, value in wanted.environment.items()}
    if wanted.secrets:
        spec["secrets"] = {name: f"${{{name}}}" for name in wanted.secrets}
    if wanted.location is not None:
        spec["location"] = _plain(wanted.location)
    if wanted.node_pool is not None:
        spec["node_pool"] = _plain(wanted.node_pool)
    value: dict[str, Json] = {
        "apiVersion": "ionet.io/v1",
        "kind": "Deployment",
        "metadata": {"name": wanted.name},
        "spec": spec,
    }
    return Document("application/yaml", write_yaml(value, EXTRA), ".ionet.yaml", "theirs")


def gateway_nodes(
    nodes: Sequence[tuple[str, str]], model: str, price: float, api_key_env: str | None = None
) -> Document:
    """Return deployed nodes as the file that ``proofcompute gateway --nodes`` reads.

    Args:
        nodes: URL and public key (64 hexadecimal digits) of each: the key is what an answer is held against.
        model: the name of the model that they serve.
        price: of a million tokens.
        api_key_env: the variable with the key that is shown to them, if they ask for one.

    Raises InputError for what no such file may have, UnsupportedError without the extra.
    """
    if not nodes or len(set(nodes)) < len(nodes) or len({url for url, _ in nodes}) < len(nodes):
        raise InputError("name one or more nodes, each once")
    if not _NODE.fullmatch(model) or not 0 <= price <= 1e6:
        raise InputError("give the name of a model, and a price of a million tokens of 0 or more")
    if api_key_env is not None and not re.fullmatch("[A-Z][A-Z0-9_]{0,63}", api_key_env):
        raise InputError(f"{api_key_env!r} is no name of a variable in capitals")
    entries: list[Json] = []
    for i, (url, key) in enumerate(nodes):
        if not re.fullmatch(r"https?://[^\s?#]+", url) or not re.fullmatch("[0-9a-f]{64}", key):
            raise InputError(f"a node is an http(s) URL and a key of 64 hexadecimal digits, not {url}={key}")
        entry: dict[str, Json] = {
            "name": f"ionet-{i + 1}",
            "url": url,
            "key": key,
            "models": [model],
            "price": price,
        }
        if api_key_env is not None:
            entry["api_key_env"] = api_key_env
        entries.append(entry)
    data = write_yaml({"version": 1, "nodes": entries}, EXTRA)
    return Document("application/yaml", data, ".nodes.yaml", "ours")
