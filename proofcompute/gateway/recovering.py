"""Make the audits that were drawn, and that the gateway or the auditor who had them did not make.

The ledger has them as jobs (docs/adr/0093). A gateway takes those about its nodes and models, whoever drew
them: itself before it was killed, or another gateway. The answer is known again by its id then, with the
choices that were audited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proofcompute.client.checked import Checked
from proofcompute.errors import FormatError
from proofcompute.gateway.auditing import Drawn
from proofcompute.gateway.fleet import Member
from proofcompute.gateway.records import Choice, Record
from proofcompute.ledger import Job
from proofcompute.logs import service_log

if TYPE_CHECKING:
    from proofcompute.gateway.gateway import Gateway

__all__ = ["described", "recover"]

_log = service_log(__name__)


def described(record: Record) -> dict[str, Any]:
    """Return what a job says of the answer to audit: neither question nor text."""
    return {"model": record.model, "answer": record.id, "n": record.n, "nonce_by": record.nonce_by}


def recover(gateway: Gateway) -> None:
    """Hold what this gateway audits, and take over what nobody does. In any thread but the event loop's.

    Raises StorageError if the database is away.
    """
    auditing = gateway.auditing
    auditing.hold()
    members = [m for m in gateway.fleet.members.values() if not auditing.full(m.name)]
    able = {m.entry.public: m for m in members}
    if not able or not auditing.cards:
        return
    for job, checked, why in gateway.books.left(list(able), auditing.cards):
        if checked is None:
            gateway.left_out(why)
            continue
        member = able[job.node or b""]
        try:
            record = _record(gateway, job, member, checked)
        except FormatError as e:
            _log.error("an audit cannot be taken over", extra={"job": job.name, "error": str(e)})
            if gateway.books.undone(job, "damaged"):
                gateway.left_out("damaged")
            continue
        auditing.add(Drawn(member, record, checked, job))


def _record(gateway: Gateway, job: Job, member: Member, checked: Checked) -> Record:
    """Return the record of an answer, or what can be known of it again.

    Raises FormatError if the job does not describe it.
    """
    body, key = job.body, member.entry.public
    model, name, n, by = (body.get(field) for field in ("model", "answer", "n", "nonce_by"))
    if (
        not (isinstance(model, str) and isinstance(name, str))
        or by not in ("client", "gateway")
        or type(n) is not int
        or n < 1
    ):
        raise FormatError(f"the job {job.name!r} does not describe the answer of a gateway")
    known = gateway.records.find(name)
    if known is not None and known.place(checked.claim.receipt.digest) is not None:
        return known
    request = checked.request
    made = Record(
        model,
        request.model_id,
        request.nonce,
        by,
        name,
        checked.when,
        n,
        member.name,
        key,
    )
    record = made if known is None or known.node_key != key else known
    if known is None:
        gateway.records.add(record)
    gateway.records.checked(record, Choice.of(checked))
    return record
