"""Describe a node's deployment in Akash's Stack Definition Language (SDL), and check descriptions of others.

The schema of SDL says which fields there are, and not whether names that stand for something stand for
anything: a deployment may name a profile that is missing. Akash's tools refuse such descriptions when a
deployment is made, so these references are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.adapter import Document
from proofcompute.networks.structured import fault, read_yaml, write_yaml

__all__ = ["Deployment", "Gpu", "Tier", "check", "describe"]

SERVICE: Final = "node"
PLACEMENT: Final = "akash"
STATE: Final = "state"
PORT: Final = 8000
"""Where a node listens in its container."""
_SIZE: Final = re.compile(r"[1-9][0-9]*(\.[0-9]+)?([kKMGTPE]i?)?")
_ADDRESS: Final = re.compile(r"akash1[0-9a-z]{38,58}")
_DENOM: Final = re.compile(r"uakt|uact|ibc/[0-9A-F]{64}")
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")


@dataclass(frozen=True)
class Gpu:
    """Which graphics processors a node needs."""

    model: str
    """The model as Akash names it, in lower case, such as ``h100``."""
    units: int = 1
    ram: str | None = None
    """Its memory, such as ``80Gi``."""
    interface: str | None = None
    """``sxm`` or ``pcie``."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9-]*", self.model):
            raise InputError(f"{self.model!r} is no model of a GPU as Akash names it: h100, rtx4090")
        if self.units < 1:
            raise InputError("a node with a GPU has at least one")
        if self.ram is not None:
            _size(self.ram, "the GPU's memory")
        if self.interface not in (None, "sxm", "pcie"):
            raise InputError(f"a GPU's interface is sxm or pcie, not {self.interface!r}")

    def value(self) -> dict[str, Json]:
        """Return the GPU as SDL has it."""
        wanted: dict[str, Json] = {"model": self.model}
        wanted.update({k: v for k, v in (("ram", self.ram), ("interface", self.interface)) if v is not None})
        return {"units": self.units, "attributes": {"vendor": {"nvidia": [wanted]}}}


@dataclass(frozen=True)
class Tier:
    """Which attestations a provider needs (AEP-86): not in every version of the schema."""

    least: int
    """1 to 4."""
    auditors: tuple[str, ...] = ()
    """Addresses of auditors, any of whom must have attested it."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= 4:
            raise InputError("a tier is 1 to 4")
        for each in self.auditors:
            _address(each)

    def value(self) -> dict[str, Json]:
        """Return the requirement as SDL has it."""
        named: dict[str, Json] = (
            {"auditors": list(self.auditors), "auditor_mode": "any"} if self.auditors else {}
        )
        return {"min_tier": self.least, **named}


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A node as a tenant deploys it. Raises InputError for what no provider could deploy."""

    image: str
    """The container's image, with a tag or digest."""
    arguments: tuple[str, ...] = ("/state/model", "--identity", "/state/identity")
    """What the image's program is given: by default files on the volume."""
    cpu: float = 8.0
    memory: str = "32Gi"
    storage: str = "20Gi"
    """Of the container itself; it is lost when the container ends."""
    state: str = "50Gi"
    """Of the volume at ``/state``, which stays."""
    gpu: Gpu | None = None
    signed_by: tuple[str, ...] = ()
    """Addresses of auditors, any of whom must have signed the provider's attributes."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attributes that the provider must have, such as its region."""
    tier: Tier | None = None
    amount: str = "10000"
    """The most that is bid for a block, in the least unit of ``denom``."""
    denom: str = "uact"
    count: int = 1

    def __post_init__(self) -> None:
        name = r"[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?"
        if not re.fullmatch(rf"{name}(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{{64}})", self.image):
            raise InputError(f"{self.image!r} is no image with a tag or digest")
        if not 0 < self.cpu <= 1024 or self.cpu * 1000 != int(self.cpu * 1000):
            raise InputError(f"a node has up to 1,024 cores, in thousandths, not {self.cpu!r}")
        for value, what in ((self.memory, "memory"), (self.storage, "storage"), (self.state, "state")):
            _size(value, what)
        for each in self.signed_by:
            _address(each)
        if not _AMOUNT.fullmatch(self.amount) or not float(self.amount) > 0:
            raise InputError(f"{self.amount!r} is no price")
        if not _DENOM.fullmatch(self.denom):
            raise InputError(f"{self.denom!r} is no denomination: uakt, uact or ibc/ and a hash")
        if self.count < 1:
            raise InputError("at least one node is deployed")


def _size(text: str, what: str) -> None:
    if not _SIZE.fullmatch(text):
        raise InputError(f"{what}: {text!r} is no size: a number with Ki, Mi, Gi or Ti")


def _address(text: str) -> None:
    if not _ADDRESS.fullmatch(text):
        raise InputError(f"{text!r} is no address on Akash")


def describe(wanted: Deployment, schema: Mapping[str, Any] | None = None) -> Document:
    """Return the SDL of a deployment.

    ``schema`` is Akash's own schema of SDL, in the version that the network at hand takes. Raises InputError
    if the deployment does not fit it, UnsupportedError without the extra.
    """
    resources: dict[str, Json] = {
        "cpu": {"units": f"{round(wanted.cpu * 1000)}m"},
        "memory": {"size": wanted.memory},
        **({} if wanted.gpu is None else {"gpu": wanted.gpu.value()}),
        "storage": [
            {"size": wanted.storage},
            {"name": STATE, "size": wanted.state, "attributes": {"persistent": True, "class": "beta3"}},
        ],
    }
    placement: dict[str, Json] = {}
    if wanted.attributes:
        placement["attributes"] = dict(wanted.attributes)
    if wanted.signed_by:
        placement["signedBy"] = {"anyOf": list(wanted.signed_by)}
    if wanted.tier is not None:
        placement["verification"] = wanted.tier.value()
    placement["pricing"] = {SERVICE: {"denom": wanted.denom, "amount": wanted.amount}}
    value: dict[str, Json] = {
        "version": "2.0" if wanted.tier is None else "2.1",
        "services": {
            SERVICE: {
                "image": wanted.image,
                "args": list(wanted.arguments),
                "expose": [{"port": PORT, "as": 80, "proto": "TCP", "to": [{"global": True}]}],
                "params": {"storage": {STATE: {"mount": f"/{STATE}", "readOnly": False}}},
            }
        },
        "profiles": {"compute": {SERVICE: {"resources": resources}}, "placement": {PLACEMENT: placement}},
        "deployment": {SERVICE: {PLACEMENT: {"profile": SERVICE, "count": wanted.count}}},
    }
    data = write_yaml(value)
    try:
        check(data, schema)
    except EnvelopeError as e:
        raise InputError(f"the deployment does not fit: {e}") from e
    return Document("application/yaml", data, ".sdl.yaml", "theirs")


def check(sdl: bytes, schema: Mapping[str, Any] | None = None) -> None:
    """Check that all names in a description stand for something, and that it fits Akash's schema if given.

    Raises EnvelopeError otherwise.
    """
    try:
        found = read_yaml(sdl)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the description is not YAML as it is read here: {e}") from e
    wrong = None if schema is None else fault(found, schema)
    if wrong is not None:
        raise EnvelopeError(f"the description does not fit the schema of SDL: {wrong}")
    for message in _dangling(found):
        raise EnvelopeError(message)


def _mapping(value: object, *path: str) -> dict[str, Any]:
    """Return the mapping at a path, {} where there is none. Raises EnvelopeError for something else."""
    for name in path:
        value = _mapping(value).get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvelopeError(f"{'.'.join(path) or 'a part'} of the description is no mapping")
    return value


def _list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvelopeError(f"{what} of the description is no list")
    return value


def _is_of(name: object, names: Mapping[str, object]) -> bool:
    """Return whether a value of whoever wrote the description is one of some names."""
    return isinstance(name, str) and name in names


def _dangling(found: Mapping[str, Json]) -> Iterator[str]:
    """Say which names stand for nothing, or are used by nobody."""
    services, deployment = _mapping(found, "services"), _mapping(found, "deployment")
    compute, placements = _mapping(found, "profiles", "compute"), _mapping(found, "profiles", "placement")
    endpoints, used = _mapping(found, "endpoints"), set()
    if not services or not deployment:
        yield "the description deploys nothing"
    for name in services.keys() - deployment.keys():
        yield f"the service {name} is not deployed"
    for name, places in deployment.items():
        if name not in services:
            yield f"what is deployed as {name} is no service"
        for place, entry in _mapping(places).items():
            profile = _mapping(entry).get("profile")
            if place not in placements:
                yield f"{name} is placed in {place}, which is not described"
            if not isinstance(profile, str) or profile not in compute:
                yield f"{name} has the profile {profile}, which is not described"
                continue
            if profile not in _mapping(placements.get(place), "pricing"):
                yield f"{place} has no price for the profile {profile}"
            yield from _volumes(name, _mapping(services.get(name)), profile, _mapping(compute, profile))
    for name, service in services.items():
        for exposed in _list(_mapping(service).get("expose"), "expose"):
            for target in _list(_mapping(exposed).get("to"), "to"):
                other, ip = _mapping(target).get("service"), _mapping(target).get("ip")
                if other is not None and not _is_of(other, services):
                    yield f"{name} is open to {other}, which is no service"
                if ip is not None:
                    used.add(str(ip))
        for needed in _list(_mapping(service).get("dependencies"), "dependencies"):
            if not _is_of(_mapping(needed).get("service"), services):
                yield f"{name} depends on {_mapping(needed).get('service')}, which is no service"
    for ip in sorted(used ^ endpoints.keys()):
        yield f"the endpoint {ip} is " + ("not used" if ip in endpoints else "not described")
    for name, profile in compute.items():
        gpu = _mapping(profile, "resources", "gpu")
        if bool(gpu.get("attributes")) != (str(gpu.get("units", 0)) not in ("0", "None")):
            yield f"the profile {name} has GPUs without attributes, or attributes without GPUs"


def _volumes(name: str, service: dict[str, Any], profile: str, described: dict[str, Any]) -> Iterator[str]:
    """Say which volumes a service mounts that are not there, and which lasting ones nobody mounts."""
    storage = _mapping(described, "resources").get("storage")
    volumes = {
        str(_mapping(each).get("name", "default")): _mapping(each, "attributes")
        for each in (storage if isinstance(storage, list) else [storage])
    }
    mounted = _mapping(service, "params", "storage")
    for volume in mounted.keys() - volumes.keys():
        yield f"{name} mounts the volume {volume}, which the profile {profile} has not"
    mounts = [_mapping(each).get("mount") for each in mounted.values()]
    if len(set(map(str, mounts))) < len(mounts):
        yield f"{name} mounts two volumes at one place"
    for volume, attributes in volumes.items():
        lasting = str(attributes.get("persistent", False)).lower() == "true"
        if lasting and not _mapping(mounted.get(volume)).get("mount"):
            yield f"{name} mounts the lasting volume {volume} nowhere"
