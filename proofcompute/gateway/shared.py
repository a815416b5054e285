"""Write into a ledger that several gateways and auditors share (:mod:`proofcompute.ledger`).

A receipt is in the ledger before the end of its answer is passed on, so every answer that a client has can be
audited later, by whoever has the ledger. Verdicts are signed by this gateway, and quarantine one node for
all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.entries import State
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.gateway.federation import NodeEntry
from proofcompute.gateway.journal import Journal, Known, Quarantine
from proofcompute.ledger import PARTS, AuditVerdict, Ledger, NewNode, NewReceipt
from proofcompute.protocol.messages import Outcome
from proofcompute.verifier import Verified

__all__ = ["LedgerBooks"]


class LedgerBooks:
    """A ledger, as what a gateway writes into.

    Args:
        where: path of an SQLite file, or the URL of a database; its tables are made if there are none.
        identity: signs verdicts.
        nodes: the nodes of the federation; the ledger learns of those that it does not know.
        state: folder for evidence that belongs to no receipt of the ledger.
        keep: whether the ledger keeps questions and receipts, so that auditors can audit answers from it.

    Raises InputError or StorageError if the ledger cannot be used.
    """

    def __init__(
        self,
        where: str | Path,
        identity: NodeIdentity,
        nodes: Iterable[NodeEntry],
        *,
        state: Path | None = None,
        keep: bool = True,
    ) -> None:
        self.ledger = Ledger.make(where)
        self._identity, self._keep_requests = identity, keep
        self._journal = Journal(state)
        for node in nodes:
            self.ledger.fleet.add_node(NewNode(node.public, node.url, node.name))

    def close(self) -> None:
        """Close the database."""
        self.ledger.close()

    def receipt(self, node: bytes, checked: Checked) -> None:
        """See :class:`.Books`."""
        receipt, keep = checked.claim.receipt, self._keep_requests
        if checked.terms is not None:
            self.ledger.fleet.add_terms(node, receipt.terms_digest, checked.terms)
        new = NewReceipt(
            digest=receipt.digest,
            node=node,
            request_digest=receipt.request_digest,
            model_id=receipt.model_id,
            terms_digest=receipt.terms_digest,
            made=checked.when,
            tokens=max(0, checked.claim.statement.rows - checked.claim.statement.prompt),
            nonce_by=checked.nonce_by,
            request=checked.request.encode() if keep else b"",
            receipt=checked.receipt if keep else b"",
        )
        self.ledger.fleet.add_receipts([new])

    def verdict(self, audited: Audited, state: State, evidence: bytes) -> None:
        """See :class:`.Books`. The verdict is a leaf of the ledger's log."""
        claim, challenge, found = audited.checked.claim, audited.challenge, audited.found
        receipt, total = claim.receipt, claim.statement.cells
        cells = total if challenge is None else sum(cell.b - cell.a for cell in challenge.cells)
        if isinstance(found, Verified):
            outcome, chance = Outcome("accepted"), found.detects_one
        elif state == "contradicted":
            outcome = Outcome("contradicted", found.step, found.cell, found.operation or "")
            chance = cells / total
        else:
            outcome, chance = Outcome(state), cells / total
        verdict = AuditVerdict(
            receipt_digest=receipt.digest,
            request_digest=receipt.request_digest,
            model_id=receipt.model_id,
            node=receipt.node,
            check="replay" if challenge is None else "cells",
            challenge_digest=b"" if challenge is None else challenge.digest,
            outcome=outcome,
            cells=cells,
            total=total,
            detection=PARTS if challenge is None else round(PARTS * chance),
            evidence_digest=evidence,
            made=int(1000 * audited.checked.when),
        )
        self.ledger.verdicts.record(verdict.signed(self._identity))

    def keep(self, node: bytes, receipt: bytes | None, data: bytes, suffix: str) -> str:
        """See :class:`.Books`. What the ledger does not take is kept in the folder."""
        name = self._journal.keep(node, receipt, data, suffix)
        if receipt is not None and suffix == "evidence" and self.ledger.fleet.receipt(receipt) is not None:
            self.ledger.verdicts.keep_evidence(receipt, data)
        return name

    def evidence(self, name: str) -> bytes | None:
        """See :class:`.Books`."""
        found = self._journal.evidence(name)
        digest, _, suffix = name.partition(".")
        if found is not None or suffix != "evidence" or len(digest) != 64:
            return found
        try:
            return self.ledger.verdicts.evidence(bytes.fromhex(digest))
        except ValueError:
            return None

    def quarantine(self, node: bytes, found: Quarantine) -> None:
        """See :class:`.Books`."""
        self._journal.quarantine(node, found)
        self.ledger.fleet.set_state(node, "quarantined", found.why[:500])

    def known(self, nodes: Iterable[bytes]) -> dict[bytes, Known]:
        """See :class:`.Books`: what all gateways and auditors found."""
        own = self._journal.known(nodes)
        made = {}
        for key, journal in own.items():
            record = self.ledger.fleet.node(key)
            if record is None:
                raise InputError(f"the ledger lost node {key.hex()}")
            quarantine = None
            if record.state != "active":
                quarantine = journal.quarantine or Quarantine(record.reason or record.state, "")
            made[key] = Known(quarantine, record.trust.counts)
        return made
