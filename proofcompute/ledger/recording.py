"""Record verdicts: each is a leaf of the log, and counts for its node, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, insert, select, tuple_

from proofcompute.bls.signatures import signed_by_all
from proofcompute.encoding import wire
from proofcompute.errors import (
    EquivocationError,
    InputError,
    LimitError,
    MismatchError,
    VerdictError,
    VerdictFault,
)
from proofcompute.ledger import tables
from proofcompute.ledger.counting import Counting
from proofcompute.ledger.database import Database
from proofcompute.ledger.fleet import MOST
from proofcompute.ledger.inserting import insert_new
from proofcompute.ledger.log import Appending, locked_size
from proofcompute.ledger.messages import AuditVerdict
from proofcompute.ledger.records import Recorded, VerdictRecord
from proofcompute.ledger.trust import TrustPolicy
from proofcompute.limits import MIB
from proofcompute.verdicts import (
    Expected,
    QuorumPolicy,
    QuorumVerdict,
    SignedVerdict,
    VerdictStatement,
    verify_verdict,
)

__all__ = ["MAX_KEPT_EVIDENCE", "Verdicts", "insert_quorum", "record_in"]

MAX_KEPT_EVIDENCE: Final = 256 * MIB
"""Bytes of a bundle that the ledger keeps; a larger one is kept as a file, and its digest in the verdict."""


class Verdicts:
    """The verdicts of a ledger, and the evidence for them.

    Args:
        database: where they are.
        policy: how verdicts count for trust.
        clock: seconds since the Unix epoch.
    """

    def __init__(self, database: Database, policy: TrustPolicy, clock: Callable[[], float]) -> None:
        self._database, self._policy, self._clock = database, policy, clock

    def record(self, *verdicts: AuditVerdict) -> list[Recorded]:
        """Record signed verdicts about receipts that the ledger knows; one that it has already is left alone.

        Raises LedgerError if a signature does not hold, and InputError for an unknown receipt: nothing is
        recorded then. Raises EquivocationError if an auditor has said something else about the same before;
        both statements are in the log then, and the other verdicts are recorded.
        """
        for verdict in verdicts:
            verdict.check_signature()
        with self._database.writing() as connection:
            made, lies = record_in(connection, verdicts, self._policy)
        raise_first(lies)
        return made

    def verdict(self, leaf: int) -> VerdictRecord:
        """Return the verdict of a leaf. Raises InputError if the leaf is none."""
        found = self._read(_verdict_rows().where(tables.verdicts.c.leaf == leaf))
        if not found:
            raise InputError(f"leaf {leaf} is no auditor's verdict")
        return found[0]

    def verdicts(
        self,
        *,
        node: bytes | None = None,
        outcome: str | None = None,
        limit: int = MOST,
        before: int | None = None,
    ) -> list[VerdictRecord]:
        """Return verdicts, the newest first: of one node and with one outcome if given, before a leaf."""
        if not 1 <= limit <= MOST:
            raise InputError(f"ask for 1 to {MOST} rows, not {limit}")
        rows, wanted = tables.verdicts, _verdict_rows()
        if node is not None:
            wanted = wanted.where(rows.c.node == node)
        if outcome is not None:
            wanted = wanted.where(rows.c.outcome == outcome)
        if before is not None:
            wanted = wanted.where(rows.c.leaf < before)
        return self._read(wanted.order_by(rows.c.leaf.desc()).limit(limit))

    def of_receipt(self, digest: bytes) -> list[VerdictRecord]:
        """Return all verdicts about a receipt, the oldest first."""
        rows = tables.verdicts
        return self._read(_verdict_rows().where(rows.c.receipt == digest).order_by(rows.c.leaf))

    def equivocations(self) -> list[tuple[VerdictRecord, VerdictRecord]]:
        """Return the pairs of verdicts by which auditors contradict themselves."""
        rows = tables.equivocations
        with self._database.reading() as connection:
            pairs = connection.execute(select(rows.c.first, rows.c.leaf).order_by(rows.c.leaf)).all()
            return [(_leaf(connection, first), _leaf(connection, second)) for first, second in pairs]

    def _read(self, wanted: Select[Any]) -> list[VerdictRecord]:
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
            return [VerdictRecord(row.leaf, AuditVerdict.decode(bytes(row.data))) for row in rows]

    # -- quorums ---------------------------------------------------------------------------------------------
    def record_quorum(self, policy: QuorumPolicy, verdict: QuorumVerdict) -> Recorded:
        """Record a quorum's verdict about a receipt that the ledger knows, after it was checked.

        Raises VerdictError if it does not hold now, and InputError for an unknown receipt.
        """
        about = verdict.statement.receipt_digest
        verify_verdict(policy, verdict, Expected(receipt_digest=about, now=self._clock()))
        with self._database.writing() as connection:
            locked_size(connection)
            _require_receipt(connection, about)
            quorums = tables.quorums
            known = select(quorums.c.leaf).where(quorums.c.statement == verdict.statement.digest)
            found = connection.execute(known).scalar()
            if found is not None:
                return Recorded(found, new=False)
            return Recorded(insert_quorum(connection, verdict), new=True)

    def quorums(self, receipt: bytes) -> list[tuple[int, QuorumVerdict]]:
        """Return the quorums' verdicts about a receipt, with their leaves."""
        quorums, leaves = tables.quorums, tables.leaves
        wanted = (
            select(quorums.c.leaf, leaves.c.data)
            .join(leaves, leaves.c.number == quorums.c.leaf)
            .where(quorums.c.receipt == receipt)
            .order_by(quorums.c.leaf)
        )
        with self._database.reading() as connection:
            return [
                (row.leaf, QuorumVerdict.decode(bytes(row.data))) for row in connection.execute(wanted).all()
            ]

    def propose(self, statement: VerdictStatement) -> VerdictStatement:
        """Propose what a quorum signs, and return what was proposed first about the same by the same policy.

        Raises InputError for an unknown receipt.
        """
        rows = tables.statements
        row = {
            "digest": statement.digest,
            "receipt": statement.receipt_digest,
            "policy": statement.policy,
            "subject": statement.subject,
            "data": wire.encode(statement.value()),
        }
        with self._database.writing() as connection:
            _require_receipt(connection, statement.receipt_digest)
            insert_new(connection, rows, [row])
            first = select(rows.c.data).where(
                rows.c.policy == statement.policy, rows.c.subject == statement.subject
            )
            return VerdictStatement.decode(bytes(connection.execute(first).scalar_one()))

    def add_signature(self, policy: QuorumPolicy, signed: SignedVerdict) -> list[SignedVerdict]:
        """Keep what a member signed of a statement that was proposed, and return all signatures of it.

        Raises VerdictError if it is no member's, or does not hold, and InputError if nobody proposed it.
        """
        policy.place_of(signed.key)
        if not signed_by_all([signed.key], signed.statement.digest, signed.signature):
            raise VerdictError(VerdictFault.SIGNATURE, f"the signature of {signed.key.hex()} does not hold")
        rows, digest = tables.signatures, signed.statement.digest
        with self._database.writing() as connection:
            known = select(tables.statements.c.digest).where(tables.statements.c.digest == digest)
            if connection.execute(known).scalar() is None:
                raise InputError(f"nobody proposed the statement {digest.hex()}")
            insert_new(connection, rows, [{"statement": digest, "key": signed.key, "data": signed.encode()}])
            found = connection.execute(
                select(rows.c.data).where(rows.c.statement == digest).order_by(rows.c.key)
            ).scalars()
            return [SignedVerdict.decode(bytes(data)) for data in found]

    # -- evidence --------------------------------------------------------------------------------------------
    def keep_evidence(self, receipt: bytes, bundle: bytes) -> bytes:
        """Keep a bundle of evidence about a receipt, and return its SHA-256 digest.

        Raises LimitError if it is too large for the ledger, and InputError for an unknown receipt.
        """
        if len(bundle) > MAX_KEPT_EVIDENCE:
            raise LimitError(f"a bundle of {len(bundle)} bytes, at most {MAX_KEPT_EVIDENCE} are kept here")
        digest = hashlib.sha256(bundle).digest()
        row = {"digest": digest, "receipt": receipt, "added": self._clock(), "data": bundle}
        with self._database.writing() as connection:
            _require_receipt(connection, receipt)
            insert_new(connection, tables.evidence, [row])
        return digest

    def evidence(self, digest: bytes) -> bytes | None:
        """Return a bundle of evidence, or None if the ledger does not have it."""
        rows = tables.evidence
        with self._database.reading() as connection:
            found = connection.execute(select(rows.c.data).where(rows.c.digest == digest)).scalar()
        if found is not None and hashlib.sha256(found).digest() != digest:
            raise MismatchError(f"the evidence {digest.hex()} was changed in the ledger")
        return None if found is None else bytes(found)

    def evidence_about(self, receipt: bytes) -> list[bytes]:
        """Return the digests of the bundles about a receipt."""
        rows = tables.evidence
        with self._database.reading() as connection:
            found = connection.execute(
                select(rows.c.digest).where(rows.c.receipt == receipt).order_by(rows.c.added)
            ).scalars()
            return [bytes(digest) for digest in found]


def record_in(
    connection: Connection, verdicts: Sequence[AuditVerdict], policy: TrustPolicy
) -> tuple[list[Recorded], list[EquivocationError]]:
    """Record verdicts whose signatures were checked; return where they are, and who contradicts itself."""
    made: list[Recorded] = []
    lies: list[EquivocationError] = []
    if not verdicts:
        return made, lies
    log = Appending(connection)
    counting = Counting(connection, verdicts, policy)
    said = _said_before(connection, verdicts)
    rows: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    for verdict in verdicts:
        found = said.get(verdict.key)
        if found is None:
            counting.require(verdict)
            leaf = log.append(verdict.encode())
            rows.append(_row(leaf, verdict))
            counting.count(leaf, verdict)
            said[verdict.key] = VerdictRecord(leaf, verdict)
            made.append(Recorded(leaf, new=True))
            continue
        if not verdict.agrees(found.verdict):
            log.flush()
            if not _is_kept(connection, found, verdict, seconds):
                leaf = log.append(verdict.encode())
                seconds.append({"leaf": leaf, "first": found.leaf, "auditor": verdict.auditor})
            lies.append(
                EquivocationError(
                    f"the auditor {verdict.auditor.hex()} said {found.verdict.outcome} of the receipt "
                    f"{verdict.receipt_digest.hex()}, and now {verdict.outcome}"
                )
            )
        made.append(Recorded(found.leaf, new=False))
    log.flush()  # before what refers to leaves
    for table, new in ((tables.verdicts, rows), (tables.equivocations, seconds)):
        if new:
            connection.execute(insert(table), new)
    counting.flush()
    return made, lies


def raise_first(lies: Sequence[EquivocationError]) -> None:
    """Raise what contradicts itself, if anything does; it is committed by now."""
    if lies:
        raise lies[0]


def insert_quorum(connection: Connection, verdict: QuorumVerdict) -> int:
    """Append a quorum's verdict to the log, and return its leaf."""
    log, statement = Appending(connection), verdict.statement
    leaf = log.append(verdict.encode())
    log.flush()
    connection.execute(
        insert(tables.quorums),
        {
            "leaf": leaf,
            "receipt": statement.receipt_digest,
            "policy": statement.policy,
            "statement": statement.digest,
            "outcome": statement.outcome.kind,
        },
    )
    return leaf


def _verdict_rows() -> Select[Any]:
    rows, leaves = tables.verdicts, tables.leaves
    return select(rows.c.leaf, leaves.c.data).join(leaves, leaves.c.number == rows.c.leaf)


def _leaf(connection: Connection, number: int) -> VerdictRecord:
    leaves = tables.leaves
    data = connection.execute(select(leaves.c.data).where(leaves.c.number == number)).scalar_one()
    return VerdictRecord(number, AuditVerdict.decode(bytes(data)))


def _said_before(
    connection: Connection, verdicts: Sequence[AuditVerdict]
) -> dict[tuple[bytes, bytes, bytes], VerdictRecord]:
    """Return what the same auditors said about the same before."""
    rows = tables.verdicts
    key = tuple_(rows.c.receipt, rows.c.challenge, rows.c.auditor)
    wanted = _verdict_rows().where(key.in_(list({v.key for v in verdicts})))
    found = (
        VerdictRecord(row.leaf, AuditVerdict.decode(bytes(row.data)))
        for row in connection.execute(wanted).all()
    )
    return {one.verdict.key: one for one in found}


def _is_kept(
    connection: Connection, first: VerdictRecord, second: AuditVerdict, seconds: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether a verdict that contradicts an earlier one is a leaf already."""
    rows = tables.equivocations
    known = connection.execute(select(rows.c.leaf).where(rows.c.first == first.leaf)).scalars().all()
    mine = [row["leaf"] for row in seconds if row["first"] == first.leaf]
    return any(_leaf(connection, leaf).verdict.agrees(second) for leaf in (*known, *mine))


def _row(leaf: int, verdict: AuditVerdict) -> dict[str, Any]:
    return {
        "leaf": leaf,
        "receipt": verdict.receipt_digest,
        "challenge": verdict.challenge_digest,
        "auditor": verdict.auditor,
        "node": verdict.node,
        "outcome": verdict.outcome.kind,
        "step": verdict.outcome.step,
        "check": verdict.check,
        "made": verdict.made / 1000,
    }


def _require_receipt(connection: Connection, digest: bytes) -> None:
    rows = tables.receipts
    if connection.execute(select(rows.c.digest).where(rows.c.digest == digest)).scalar() is None:
        raise InputError(f"the ledger knows no receipt {digest.hex()}: add it first")
