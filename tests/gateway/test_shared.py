"""Gateways that share a ledger: one's receipts and verdicts are all's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from client.standin import KERNELS
from gateway.standing import CHAT, IDENTITIES, asked, gateway, honest, standing
from gateway.test_auditing import audited, cheating, files
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.gateway import Gateway
from proofcompute.gateway.shared import LedgerBooks
from proofcompute.protocol.bundle import Bundle
from proofcompute.verifier.judging import verify_evidence

__all__ = ["files"]
IDENTITY = NodeIdentity(bytes(range(9, 41)))


def sharing(nodes: dict[str, Any], where: Path, files: Path, by: str = "replay", **options: Any) -> Gateway:
    from gateway.standing import entry

    books = LedgerBooks(where, IDENTITY, [entry(name) for name in nodes])
    models = audited(files, by, cells="all")
    return gateway(nodes, models=models, books=books, identity=IDENTITY, **options)


def books_of(made: Gateway) -> LedgerBooks:
    assert isinstance(made.books, LedgerBooks)
    return made.books


def test_receipts_and_verdicts_are_in_the_ledger(tmp_path: Path, files: Path, synchronous: None) -> None:
    made = sharing({"north": honest("north")}, tmp_path / "ledger", files)
    (said,) = asked(made, CHAT)
    ledger = books_of(made).ledger
    (receipt,) = ledger.fleet.receipts()
    assert receipt.level == "audited"
    assert receipt.seconds is not None
    assert receipt.tokens == said.json["usage"]["completion_tokens"]
    proved = ledger.fleet.throughput(receipt.node, 0, receipt.made)
    assert proved.speed == receipt.tokens / receipt.seconds
    assert receipt.request_digest.hex() in said.json["id"]
    kept = ledger.fleet.answer(receipt.digest)
    assert kept is not None
    (verdict,) = ledger.verdicts.of_receipt(receipt.digest)
    assert (verdict.verdict.outcome.kind, verdict.verdict.auditor) == ("accepted", IDENTITY.public)
    (node,) = ledger.fleet.nodes()
    assert (node.receipts, node.trust.counts.audits) == (1, 1)
    assert len(ledger.fleet.terms(IDENTITIES["north"].public)) == 1
    books_of(made).close()


@pytest.mark.parametrize("by", ["replay", "opening"])
def test_one_gateways_quarantine_is_alls(by: str, tmp_path: Path, files: Path, synchronous: None) -> None:
    nodes = {"north": cheating("north", "other weights"), "south": honest("south")}
    first = sharing(nodes, tmp_path / "ledger", files, by, first="north", disclose=True)
    second = sharing(nodes, tmp_path / "ledger", files, by, first="north", disclose=True)

    async def both() -> None:
        async with standing(first) as ask, standing(second):
            await ask(CHAT)
            keys = [m.entry.public for m in second.fleet.members.values()]
            second._learn(second.books.known(keys))
            north = second.fleet.members["north"]
            assert north.state == "quarantined"
            assert north.trust.counts.failed == 1
            # an operator readmits the node, and both ask it again
            ledger = books_of(first).ledger
            data = ledger.verdicts.evidence_about(ledger.fleet.receipts()[0].digest)[0]
            assert second.books.evidence(f"{data.hex()}.evidence")
            ledger.fleet.set_state(IDENTITIES["north"].public, "active", "")
            second._learn(second.books.known(keys))
            assert north.state == "asked"

    asyncio.run(both())
    evidence = first.books.evidence(first.fleet.members["north"].evidence)
    assert evidence is not None
    from client.standin import model

    assert verify_evidence(Bundle.decode(evidence), model(), kernels=KERNELS).finding.value == "contradicted"
    for made in (first, second):
        books_of(made).close()


def test_a_contradicted_receipt_quarantines_for_all(tmp_path: Path, files: Path, synchronous: None) -> None:
    north = honest("north", change=lambda s: {**s, "proofcompute": None})
    made = sharing({"north": north}, tmp_path / "ledger", files)
    asked(made, CHAT)
    ledger = books_of(made).ledger
    assert ledger.fleet.count_nodes()["quarantined"] == 1
    assert ledger.fleet.receipts() == []
    assert made.fleet.members["north"].evidence.endswith(".json")
    books_of(made).close()
    again = sharing({"north": honest("north")}, tmp_path / "ledger", files)
    assert again.fleet.members["north"].state == "quarantined"
    books_of(again).close()
