"""Write into a ledger that several gateways and auditors share (:mod:`proofcompute.ledger`).

A receipt is in the ledger before the end of its answer is passed on, so every answer that a client has can be
audited later, by whoever has the ledger. Verdicts are signed by this gateway, and quarantine one node for
all.

A database may be away for a while. An answer whose receipt cannot be written is not passed on. Verdicts and
evidence wait for the database, and a quarantine that could not be written is owed to it: nothing is learned
from the ledger before. What is owed is in ``owed/`` of the folder too, one file for each node, so a gateway
that is killed before the database is back pays at its next start.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from threading import Lock

from proofcompute.auditing.patience import patiently
from proofcompute.auditing.turning import receipt_of, verdict_of
from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.entries import State
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import StorageError
from proofcompute.gateway.federation import NodeEntry
from proofcompute.gateway.journal import Journal, Known, Quarantine
from proofcompute.ledger import Ledger, NewNode
from proofcompute.ledger.fleet import MOST
from proofcompute.limits import KIB
from proofcompute.logs import service_log

__all__ = ["LedgerBooks"]

_log = service_log(__name__)


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
        self._owed: dict[bytes, str] = {}
        self._owing = Lock()
        self._debts = None if state is None else state / "owed"
        if self._debts is not None:
            self._debts.mkdir(exist_ok=True)
        for node in nodes:
            self.ledger.fleet.add_node(NewNode(node.public, node.url, node.name))
            if self._debts is not None and (path := self._debts / node.public.hex()).is_file():
                self._owed[node.public] = read_limited(path, 4 * KIB, "owed quarantine").decode(
                    errors="replace"
                )
        self._pay()

    def close(self) -> None:
        """Close the database."""
        self.ledger.close()

    def receipt(self, node: bytes, checked: Checked) -> None:
        """See :class:`.Books`."""
        if checked.terms is not None:
            self.ledger.fleet.add_terms(node, checked.claim.receipt.terms_digest, checked.terms)
        self.ledger.fleet.add_receipts([receipt_of(checked, keep=self._keep_requests)])

    def verdict(self, audited: Audited, state: State, evidence: bytes) -> None:
        """See :class:`.Books`. The verdict is a leaf of the ledger's log."""
        verdict = verdict_of(audited, state, extent=self.ledger.policy.extent, evidence=evidence)
        if verdict is not None:
            patiently(partial(self.ledger.verdicts.record, verdict.signed(self._identity)))

    def keep(self, node: bytes, receipt: bytes | None, data: bytes, suffix: str) -> str:
        """See :class:`.Books`. What the ledger does not take is kept in the folder."""
        name = self._journal.keep(node, receipt, data, suffix)
        if receipt is not None and suffix == "evidence":
            patiently(partial(self._keep_evidence, receipt, data))
        return name

    def _keep_evidence(self, receipt: bytes, data: bytes) -> None:
        if self.ledger.fleet.receipt(receipt) is not None:
            self.ledger.verdicts.keep_evidence(receipt, data)

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
        """See :class:`.Books`. It is the event loop that says so, which does not wait for a database."""
        self._journal.quarantine(node, found)
        with self._owing:
            self._owed[node] = found.why[:500]
        if self._debts is not None:
            write_atomic(self._debts / node.hex(), found.why[:500].encode())
        try:
            self._pay()
        except StorageError as e:
            _log.error("a quarantine waits for the ledger", extra={"node": node.hex(), "error": str(e)})

    def _pay(self) -> None:
        """Write the quarantines that are owed. Raises StorageError if the database is away."""
        with self._owing:
            while self._owed:
                node, why = next(iter(self._owed.items()))
                self.ledger.fleet.set_state(node, "quarantined", why)
                if self._debts is not None:
                    (self._debts / node.hex()).unlink(missing_ok=True)
                del self._owed[node]

    def known(self, nodes: Iterable[bytes]) -> dict[bytes, Known]:
        """See :class:`.Books`: what all gateways and auditors found."""
        self._pay()  # else the ledger would say that these nodes may be asked
        own, last = self._journal.known(nodes), None
        made: dict[bytes, Known] = {}
        while page := self.ledger.fleet.nodes(MOST, after=last):
            for record in page:
                if (journal := own.get(record.key)) is not None:
                    found = None
                    if record.state != "active":
                        found = journal.quarantine or Quarantine(record.reason or record.state, "")
                    made[record.key] = Known(found, record.trust.counts)
            last = page[-1]
        return made
