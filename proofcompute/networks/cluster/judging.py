"""Judge a cluster by a policy, sign the verdict, and check one from its envelope and the bundles alone.

A verdict holds the policy, the operator's records and, for each node and line, what was found and the digests
of the bundles behind it. Its maker signs it as an in-toto statement in a DSSE envelope. Whoever checks it
judges again: from the policy and the records in the envelope, and from the bundles, which the auditors
signed, the same statement must come out, byte for byte. What only the records say is the maker's word, and
each line says so. A verdict cannot show evidence that its maker left out; the head of a ledger's log in it
can (docs/guides/networks.md#verified-clusters).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.limits import MIB
from proofcompute.networks.adapter import Document
from proofcompute.networks.cluster.forms import Policy, Records, moment, time_of
from proofcompute.networks.cluster.lines import Line, lines, text
from proofcompute.networks.dsse import MEDIA_TYPE, STATEMENT, opened, sealed
from proofcompute.networks.work import Work

__all__ = ["MAX_ENVELOPE", "PREDICATE", "Cluster", "NodeVerdict", "check", "judge", "wrap"]

PREDICATE: Final = "urn:proofcompute:verified-cluster:1"
INTERFACE: Final = "our own: no network defines this policy or this verdict"
MAX_ENVELOPE: Final = 64 * MIB
"""The most bytes of an envelope that is read."""


@dataclass(frozen=True)
class NodeVerdict:
    """What a policy says of one node."""

    node: bytes
    hardware: str | None
    lines: tuple[Line, ...]

    @property
    def verified(self) -> bool:
        """Whether all lines hold."""
        return all(line.holds for line in self.lines)


@dataclass(frozen=True)
class Cluster:
    """What a policy says of a cluster."""

    policy: Policy
    records: Records
    works: tuple[Work, ...]
    at: int
    """When it was judged, in milliseconds since the Unix epoch."""
    nodes: tuple[NodeVerdict, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines of the policy for the cluster as a whole."""
        wanted, many = self.policy.value["cluster"], sum(node.verified for node in self.nodes)
        found = []
        for name, value in (("nodes", Fraction(many)), ("share", Fraction(many, len(self.nodes)))):
            if name in wanted:
                least = Fraction(str(wanted[name]))
                found.append(Line(name, text(least), text(value), value >= least, "both"))
        return tuple(found)

    @property
    def verified(self) -> bool:
        """Whether the cluster's lines hold. A policy without any asks for all nodes."""
        asked = self.lines
        return all(line.holds for line in asked) if asked else all(node.verified for node in self.nodes)

    @property
    def until(self) -> int:
        """Until when the verdict holds, likewise."""
        return self.at + self.policy.valid

    def statement(self) -> dict[str, Json]:
        """Return the in-toto statement."""
        digests = sorted({work.bundle_sha256 for work in self.works})
        nodes: list[Json] = [
            {
                "node": each.node.hex(),
                "hardware": each.hardware,
                "verified": each.verified,
                "lines": [line.value() for line in each.lines],
            }
            for each in self.nodes
        ]
        return {
            "_type": STATEMENT,
            "subject": [{"name": "evidence", "digest": {"sha256": each.hex()}} for each in digests],
            "predicateType": PREDICATE,
            "predicate": {
                "interface": INTERFACE,
                "cluster": self.records.value["cluster"],
                "verified": self.verified,
                "made": moment(self.at),
                "until": moment(self.until),
                "lines": [line.value() for line in self.lines],
                "nodes": nodes,
                "policy": dict(self.policy.value),
                "records": dict(self.records.value),
            },
        }


def judge(policy: Policy, records: Records, works: Sequence[Work], at: int) -> Cluster:
    """Judge a cluster.

    Args:
        policy: what is asked for.
        records: what its operator recorded.
        works: what bundles of evidence say, in any order.
        at: now, in milliseconds since the Unix epoch.

    Raises InputError for evidence that does not belong here: about a node that is not recorded, by an auditor
    that the policy does not name or who is the node itself, or made outside of the recorded period.
    """
    if at < records.end:
        raise InputError("the recorded period has not ended yet")
    known = sorted({work.bundle_sha256: work for work in works}.items())
    for _, work in known:
        if work.node not in records.nodes:
            raise InputError(f"there is evidence about {work.node.hex()}, which the records do not name")
        if work.auditor not in policy.auditors or work.auditor == work.node:
            raise InputError(f"there is evidence by {work.auditor.hex()}, whom the policy does not trust")
        if not records.start <= work.made <= records.end:
            raise InputError(f"there is evidence of {moment(work.made)}, outside of the recorded period")
    about: dict[bytes, list[Work]] = {key: [] for key in records.nodes}
    for _, work in known:
        about[work.node].append(work)
    nodes = [
        NodeVerdict(key, node.hardware, tuple(lines(policy, records, node, about[key], at)))
        for key, node in sorted(records.nodes.items())
    ]
    return Cluster(policy, records, tuple(work for _, work in known), at, tuple(nodes))


def wrap(cluster: Cluster, identity: NodeIdentity) -> Document:
    """Return the signed envelope of a verdict. Raises InputError if it is larger than any that is read."""
    data = sealed(_payload(cluster), identity)
    if len(data) > MAX_ENVELOPE:
        raise InputError(f"the verdict takes {len(data)} bytes, at most {MAX_ENVELOPE} are read: split it")
    return Document(MEDIA_TYPE, data, ".intoto.json", "ours")


def _payload(cluster: Cluster) -> bytes:
    return json.dumps(cluster.statement(), sort_keys=True, separators=(",", ":")).encode()


def check(envelope: bytes, signer: bytes, works: Sequence[Work], now: int) -> Cluster:
    """Check who signed a verdict, that it holds now, and that it follows from its records and the bundles.

    ``works`` are all the bundles that it names. Returns what was judged again.

    Raises EnvelopeError if it is malformed, signed by another key, has ended or is not yet made, names other
    bundles, or says something else than what follows.
    """
    payload = opened(envelope, signer, MAX_ENVELOPE)
    try:
        found: Any = read_json(payload, MAX_ENVELOPE)
        predicate = found["predicate"]
        policy, records = Policy.of(predicate["policy"]), Records.of(predicate["records"])
        at = time_of(predicate["made"])
        named = {str(each["digest"]["sha256"]) for each in found["subject"]}
    except (KeyError, TypeError, FormatError, LimitError) as e:
        raise EnvelopeError(f"the envelope holds no verdict about a cluster: {e}") from e
    missing = named - {work.bundle_sha256.hex() for work in works}
    if missing:
        raise EnvelopeError(f"the verdict names bundles that were not given: {', '.join(sorted(missing))}")
    used = [work for work in works if work.bundle_sha256.hex() in named]
    try:
        again = judge(policy, records, used, at)
        expected = _payload(again)
    except InputError as e:
        raise EnvelopeError(f"nobody may judge so: {e}") from e
    if expected != payload:
        raise EnvelopeError(f"the verdict does not follow from its evidence: {_difference(found, again)}")
    if not at <= now <= again.until:
        raise EnvelopeError(f"the verdict holds from {moment(at)} until {moment(again.until)}")
    return again


def _difference(found: Any, again: Cluster) -> str:
    """Return in words what a verdict says otherwise than what follows."""
    expected: Any = again.statement()
    differing = [name for name in expected if found.get(name) != expected[name] and name != "predicate"]
    given, wanted = found["predicate"], expected["predicate"]
    differing += [name for name in wanted if given.get(name) != wanted[name]]
    return ", ".join(differing) or "its form is another"
