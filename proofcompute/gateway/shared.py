"""Write into a ledger that several gateways and auditors share (:mod:`proofcompute.ledger`).

A receipt is in the ledger before the end of its answer is passed on, so every answer that a client has can be
audited later, by whoever has the ledger. Verdicts are signed by this gateway, and quarantine one node for
all.

A database may be away for a while. An answer whose receipt cannot be written is not passed on. Verdicts and
evidence wait for the database, and a quarantine that could not be written is owed to it: nothing is learned
from the ledger before. What is owed is in ``owed/`` of the folder too, one file for each node, so a gateway
that is killed before the database is back pays at its next start.

Whether an answer is audited is in the ledger with its receipt, as a job that this gateway has taken
(docs/adr/0093). It holds its jobs as long as it lives, and finishes each with its verdict in one transaction.
Whatever it leaves is taken by the next gateway, or an auditor, that looks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any, Final, TypeVar

from proofcompute.auditing.challenging import note_challenge
from proofcompute.auditing.desk import AGAIN, ATTEMPTS, LEASE
from proofcompute.auditing.patience import patiently
from proofcompute.auditing.turning import receipt_of, verdict_of
from proofcompute.auditing.working import DRAWN, kept_answer
from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.entries import FAILED, State
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import InputError, StorageError
from proofcompute.gateway.federation import NodeEntry
from proofcompute.gateway.journal import Journal, Known, Left, Quarantine
from proofcompute.ledger import Done, Job, Ledger, NewJob, NewNode
from proofcompute.ledger.fleet import MOST
from proofcompute.limits import KIB
from proofcompute.logs import service_log
from proofcompute.models.card import ModelCard
from proofcompute.protocol.messages import Challenge

__all__ = ["LedgerBooks"]

_log = service_log(__name__)
_T = TypeVar("_T")

_AT_ONCE: Final = 16
"""Audits that are taken over at a time."""
_TERMS: Final = 4096
"""Terms of which it is remembered that the ledger has them."""


class LedgerBooks:
    """A ledger, as what a gateway writes into.

    Args:
        where: path of an SQLite file, or the URL of a database; its tables are made if there are none.
        identity: signs verdicts.
        nodes: the nodes of the federation; the ledger learns of those that it does not know.
        state: folder for evidence that belongs to no receipt of the ledger.
        keep: whether the ledger keeps questions and receipts, so that auditors can audit answers from it.
            Without them, nobody makes the audits that this gateway drew and did not make.
        lease: seconds after which others make the audits of a gateway that died.

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
        lease: float = LEASE,
    ) -> None:
        if not lease > 0:
            raise InputError(f"jobs are taken for more than no time, not for {lease} seconds")
        self.ledger = Ledger.make(where)
        self._identity, self._keep_requests = identity, keep
        self._lease, self._token = lease, secrets.token_bytes(16)
        self._owner = f"gateway {identity.public.hex()[:16]} {self._token.hex()[:8]}"
        self._ended = Event()
        self._terms: set[bytes] = set()
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

    def receipt(self, node: bytes, checked: Checked, drawn: Mapping[str, Any] | None) -> Job | None:
        """See :class:`.Books`."""
        self._add_terms(node, checked)
        receipt = receipt_of(checked, keep=self._keep_requests)
        if drawn is None:
            self.ledger.fleet.add_receipts([receipt])
            return None
        name = f"{DRAWN} {receipt.digest.hex()}"
        job = NewJob(name=name, kind=DRAWN, node=node, receipt=receipt.digest, body=drawn)
        return self.ledger.jobs.draw(receipt, job, self._owner, self._lease, self._token)

    def _add_terms(self, node: bytes, checked: Checked) -> None:
        digest = checked.claim.receipt.terms_digest
        if checked.terms is None or digest in self._terms:
            return
        self.ledger.fleet.add_terms(node, digest, checked.terms)
        if len(self._terms) >= _TERMS:
            self._terms.clear()
        self._terms.add(digest)

    # -- audits ----------------------------------------------------------------------------------------------
    @property
    def often(self) -> float:
        """See :class:`.Books`."""
        return self._lease / 3

    def _patiently(self, call: Callable[[], _T]) -> _T:
        return patiently(call, ended=self._ended.is_set)

    def drew(self, job: Job, challenge: Challenge) -> None:
        """See :class:`.Books`."""
        note_challenge(self.ledger, job, challenge)

    def verdict(self, job: Job, audited: Audited, state: State, evidence: bytes) -> bool:
        """See :class:`.Books`. The verdict is a leaf of the ledger's log."""
        verdict = verdict_of(audited, state, extent=self.ledger.policy.extent, evidence=evidence)
        verdicts = () if verdict is None else (verdict.signed(self._identity),)
        result = {"state": state, "auditor": self._identity.public.hex()}
        done = Done(job, verdicts, result, late=state in FAILED)
        (mine,) = self._patiently(partial(self.ledger.jobs.finish, done))
        return mine

    def undone(self, job: Job, why: str) -> bool:
        """See :class:`.Books`."""
        if job.attempts < ATTEMPTS:
            due = self.ledger.clock() + AGAIN
            self._patiently(partial(self.ledger.jobs.release, job, due))
            return False
        self._give_up(job, why)
        return True

    def _give_up(self, job: Job, why: str) -> None:
        _log.error("an audit is given up", extra={"job": job.name, "why": why})
        self._patiently(partial(self.ledger.jobs.finish, Done(job, (), {"error": why})))

    def left(self, nodes: Sequence[bytes], cards: Mapping[str, ModelCard]) -> list[Left]:
        """See :class:`.Books`. Raises StorageError if the database is away."""
        jobs, found = self.ledger.jobs, []
        for job in jobs.lease(self._owner, self._lease, limit=_AT_ONCE, kinds=[DRAWN], nodes=nodes):
            card = cards.get(str(job.body.get("model")))
            if card is None:
                jobs.release(job, self.ledger.clock() + AGAIN, untried=True)
            elif job.attempts > ATTEMPTS:  # whoever took it was killed each time
                self._give_up(job, "given_up")
                found.append(Left(job, None, "given_up"))
            else:
                found.append(self._kept(job, card))
        return found

    def _kept(self, job: Job, card: ModelCard) -> Left:
        try:
            return Left(job, kept_answer(self.ledger, job.receipt or b"", card), "")
        except InputError as e:
            _log.error("an answer cannot be audited", extra={"job": job.name, "error": str(e)})
            self._give_up(job, "not_kept")
            return Left(job, None, "not_kept")

    def hold(self, jobs: Sequence[Job]) -> None:
        """See :class:`.Books`."""
        if jobs:
            self.ledger.jobs.hold(jobs, self._lease)

    def let_go(self, jobs: Sequence[Job]) -> None:
        """See :class:`.Books`. If the database is away, they are others' when the lease ends."""
        self._ended.set()
        try:
            if jobs:
                self.ledger.jobs.hold(jobs, 0.0)
        except StorageError as e:
            _log.warning("audits are left until their lease ends", extra={"error": str(e)})

    # -- evidence --------------------------------------------------------------------------------------------

    def keep(self, node: bytes, receipt: bytes | None, data: bytes, suffix: str) -> str:
        """See :class:`.Books`. What the ledger does not take is kept in the folder."""
        name = self._journal.keep(node, receipt, data, suffix)
        if receipt is not None and suffix == "evidence":
            self._patiently(partial(self._keep_evidence, receipt, data))
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
