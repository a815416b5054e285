"""Take from a ledger what a policy is judged by: records of a period, and the evidence about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError
from proofcompute.networks.cluster.forms import Policy, Records, moment
from proofcompute.networks.cluster.schemas import RECORDS_KIND

if TYPE_CHECKING:
    from proofcompute.ledger import Ledger, NodeRecord, VerdictRecord

__all__ = ["bundles", "records"]


def _nodes(ledger: Ledger) -> Iterator[NodeRecord]:
    """Return all nodes."""
    last = None
    while page := ledger.fleet.nodes(after=last):
        yield from page
        last = page[-1]


def _answers(ledger: Ledger, node: bytes, start: int, end: int) -> int:
    """Return how many answers of a node came within a period."""
    count, last = 0, None
    while page := ledger.fleet.receipts(node, before=last):
        times = [record.made * 1000 for record in page]
        count += sum(start <= time <= end for time in times)
        if times[-1] < start:
            break
        last = page[-1]
    return count


def _verdicts(ledger: Ledger, node: bytes, start: int, end: int) -> Iterator[VerdictRecord]:
    """Return what auditors signed about a node within a period. All are read: their clocks are their own."""
    last = None
    while page := ledger.verdicts.verdicts(node=node, before=last):
        yield from (each for each in page if start <= each.verdict.made <= end)
        last = page[-1].leaf


def records(
    ledger: Ledger, name: str, start: int, end: int, hardware: Mapping[bytes, str] | None = None
) -> Records:
    """Return the records of a cluster: all nodes of the ledger that are not retired.

    Probes are the challenges of auditors, which a node answered if it was neither silent nor refused. Seconds
    are those of the answers that auditors accepted in the period, as who asked measured them.

    Args:
        ledger: where it is recorded.
        name: what the cluster is called.
        start: begin of the period, in milliseconds since the Unix epoch.
        end: its end, likewise.
        hardware: classes of hardware by the nodes' keys, which a ledger does not know.

    Raises InputError if there are no nodes, hardware is of a node that the ledger does not have, or the
    period is none.
    """
    nodes: dict[str, Json] = {}
    classes = dict(hardware or {})
    for node in _nodes(ledger):
        if node.state == "retired":
            continue
        asked = answered = 0
        accepted = set()
        for each in _verdicts(ledger, node.key, start, end):
            if each.verdict.check == "cells":
                asked += 1
                answered += each.verdict.outcome.kind not in ("silent", "refused")
            if each.verdict.outcome.kind == "accepted":
                accepted.add(each.verdict.receipt_digest)
        seconds = {digest.hex(): value for digest, value in ledger.fleet.seconds(sorted(accepted)).items()}
        nodes[node.key.hex()] = {
            "answers": _answers(ledger, node.key, start, end),
            **({"hardware": classes.pop(node.key)} if node.key in classes else {}),
            **({"probes": {"asked": asked, "answered": answered}} if asked else {}),
            **({"seconds": dict(sorted(seconds.items()))} if seconds else {}),
        }
    if not nodes:
        raise InputError("the ledger has no nodes")
    if classes:
        raise InputError(f"the ledger has no node {next(iter(classes)).hex()} whose hardware that could be")
    size = ledger.log.size
    log: dict[str, Json] = {"log": {"size": size, "root": ledger.log.root(size).root.hex()}} if size else {}
    return Records.of(
        {
            "kind": RECORDS_KIND,
            "version": 1,
            "cluster": name,
            "from": moment(start),
            "until": moment(end),
            "nodes": nodes,
            **log,
        }
    )


def bundles(ledger: Ledger, policy: Policy, known: Records) -> Iterator[tuple[bytes, bytes | None]]:
    """Return the bundles of the recorded period that a policy's auditors made, by their SHA-256.

    A bundle that the ledger does not keep itself is None: who judges has to bring it.
    """
    seen = set()
    for node in known.nodes:
        for each in _verdicts(ledger, node, known.start, known.end):
            digest = each.verdict.evidence_digest
            if digest and digest not in seen and each.verdict.auditor in policy.auditors:
                seen.add(digest)
                yield digest, ledger.verdicts.evidence(digest)
