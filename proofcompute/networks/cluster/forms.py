"""Read policies of clusters and records about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import FormatError
from proofcompute.limits import MIB
from proofcompute.networks.cluster.schemas import POLICY, RECORDS
from proofcompute.networks.structured import fault, read_yaml

__all__ = ["MAX_POLICY", "MAX_RECORDS", "Node", "Policy", "Records", "exact", "moment", "time_of"]

EXTRA: Final = "cluster"
MAX_POLICY: Final = 1 << 18
"""The most bytes of a policy."""
MAX_RECORDS: Final = 16 * MIB
"""The most bytes of records."""


def exact(value: Any) -> Fraction:
    """Return a number as it is written, so that 0.1 is a tenth."""
    return Fraction(str(value))


def time_of(text: str) -> int:
    """Return a time in milliseconds since the Unix epoch. Raises FormatError if there is no such time."""
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as e:
        raise FormatError(f"{text} is no time: {e}") from e


def moment(time: int) -> str:
    """Return a time in milliseconds as text. Raises FormatError if it is no date."""
    try:
        return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time % 1000:03d}Z"
    except (OverflowError, ValueError) as e:
        raise FormatError(f"{time} ms since the Unix epoch is no date") from e


@dataclass(frozen=True)
class Policy:
    """What a cluster must show."""

    value: Mapping[str, Any]
    """The policy as it was read, which fits the schema."""

    @staticmethod
    def read(data: bytes) -> Policy:
        """Read a policy in YAML or JSON. Raises FormatError or LimitError if it is none."""
        return Policy.of(read_yaml(data, MAX_POLICY, EXTRA))

    @staticmethod
    def of(value: dict[str, Json]) -> Policy:
        """Check a policy. Raises FormatError if it does not fit the schema."""
        wrong = fault(value, POLICY, EXTRA)
        if wrong is not None:
            raise FormatError(f"the policy does not fit its schema: {wrong}")
        return Policy(value)

    @property
    def auditors(self) -> frozenset[bytes]:
        """Whose evidence counts."""
        return frozenset(map(bytes.fromhex, self.value["auditors"]))

    @property
    def valid(self) -> int:
        """For how long a verdict holds, in milliseconds."""
        return round(exact(self.value["valid"]) * 3_600_000)


@dataclass(frozen=True)
class Node:
    """What the operator recorded about a node."""

    answers: int
    """Answers that it gave in the period."""
    hardware: str | None
    asked: int | None
    """Probes, or None if there were none."""
    answered: int
    seconds: Mapping[bytes, Fraction]
    """What answers took, by the digests of their receipts."""


@dataclass(frozen=True)
class Records:
    """What the operator of a cluster recorded: its word, which the verdict's signature binds."""

    value: Mapping[str, Any]
    """The records as they were read, which fit the schema."""
    nodes: Mapping[bytes, Node]
    start: int
    """Begin of the period, in milliseconds since the Unix epoch."""
    end: int
    """Its end, likewise."""

    @staticmethod
    def read(data: bytes) -> Records:
        """Read records in JSON. Raises FormatError or LimitError if they are none."""
        return Records.of(read_json(data, MAX_RECORDS))

    @staticmethod
    def of(value: dict[str, Json]) -> Records:
        """Check records. Raises FormatError if they do not fit the schema, or contradict themselves."""
        wrong = fault(value, RECORDS, EXTRA)
        if wrong is not None:
            raise FormatError(f"the records do not fit their schema: {wrong}")
        known: Any = value
        start, end = time_of(known["from"]), time_of(known["until"])
        if start >= end:
            raise FormatError("the records are about a period that ends before it begins")
        nodes = {bytes.fromhex(key): _node(key, entry) for key, entry in known["nodes"].items()}
        return Records(value, nodes, start, end)


def _node(key: str, entry: Mapping[str, Any]) -> Node:
    probes = entry.get("probes")
    if probes is not None and probes["answered"] > probes["asked"]:
        raise FormatError(f"the node {key} answered more probes than there were")
    return Node(
        int(entry["answers"]),  # JSON has one kind of number: 3.0 is 3
        entry.get("hardware"),
        None if probes is None else int(probes["asked"]),
        0 if probes is None else int(probes["answered"]),
        {bytes.fromhex(digest): exact(value) for digest, value in entry.get("seconds", {}).items()},
    )
