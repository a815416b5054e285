"""Give work to auditors: a job is taken until a deadline, and finished once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, case, false, func, select, tuple_, update

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.ledger import tables
from proofcompute.ledger.database import Database
from proofcompute.ledger.fleet import MOST, add_receipts
from proofcompute.ledger.inserting import insert_new
from proofcompute.ledger.recording import raise_first, record_in
from proofcompute.ledger.records import Done, Job, NewJob, NewReceipt
from proofcompute.ledger.trust import TrustPolicy
from proofcompute.limits import MIB

__all__ = ["Jobs"]

_BODY: Final = MIB
"""Bytes of a job's body or result, in JSON."""


class Jobs:
    """The jobs of a ledger.

    Args:
        database: where they are.
        policy: how verdicts count for trust.
        clock: seconds since the Unix epoch. All who take jobs must have the same time, to a small part of
            the time for which they take them.
    """

    def __init__(self, database: Database, policy: TrustPolicy, clock: Callable[[], float]) -> None:
        self._database, self._policy, self._clock = database, policy, clock

    def add(self, *jobs: NewJob) -> int:
        """Add jobs, and return how many are new: one whose name was added before is left alone.

        Raises LimitError for a body that is too large.
        """
        rows = [self._row(job) for job in jobs]
        with self._database.writing() as connection:
            return insert_new(connection, tables.jobs, rows)

    def draw(self, receipt: NewReceipt, job: NewJob, owner: str, seconds: float, lease: bytes) -> Job | None:
        """Keep a receipt, and add the job of its audit, which ``owner`` has taken, in one transaction.

        Args:
            receipt: the receipt.
            job: the job; it is not to be done later than now.
            owner: who takes it.
            seconds: until the deadline.
            lease: 16 random bytes that no call of another owner has; they may serve for many jobs.

        Returns the job; None if one of its name was added before, which is left alone.

        Raises as :meth:`.Fleet.add_receipts` and :meth:`add`.
        """
        until = self._clock() + seconds
        row = self._row(job) | {"free_at": until, "lease": lease, "owner": owner, "attempts": 1}
        with self._database.writing() as connection:
            add_receipts(connection, [receipt])
            if not insert_new(connection, tables.jobs, [row]):
                return None
            made = select(tables.jobs).where(tables.jobs.c.name == job.name)
            return _job(connection.execute(made).one())

    def _row(self, job: NewJob) -> dict[str, Any]:
        return {
            "name": job.name,
            "kind": job.kind,
            "node": job.node,
            "receipt": job.receipt,
            "audience": job.audience,
            "body": _written(job.body),
            "added": self._clock(),
            "free_at": job.due,
            "done": False,
            "owner": "",
            "attempts": 0,
            "result": "",
        }

    def lease(
        self,
        owner: str,
        seconds: float,
        *,
        limit: int = 1,
        kinds: Sequence[str] | None = None,
        nodes: Sequence[bytes] | None = None,
    ) -> list[Job]:
        """Take up to ``limit`` jobs that are due and that nobody has, the longest due first.

        A job whose deadline has passed is taken again, by whoever asks first.

        Args:
            owner: who takes them; a job that has an audience is for this owner alone.
            seconds: until the deadline.
            limit: the most jobs.
            kinds: the kinds that the owner can do; None: all.
            nodes: the nodes about which the owner can do them; None: any, and jobs about none.
        """
        if not 1 <= limit <= MOST or not seconds > 0:
            raise InputError(f"1 to {MOST} jobs are taken for more than no time")
        jobs, now = tables.jobs, self._clock()
        wanted = select(jobs).where(
            jobs.c.done == false(), jobs.c.free_at <= now, jobs.c.audience.in_(["", owner])
        )
        if kinds is not None:
            wanted = wanted.where(jobs.c.kind.in_(list(kinds)))
        if nodes is not None:
            wanted = wanted.where(jobs.c.node.in_(list(nodes)))
        wanted = wanted.order_by(jobs.c.free_at, jobs.c.id).limit(limit).with_for_update(skip_locked=True)
        lease, until = secrets.token_bytes(16), now + seconds
        with self._database.writing() as connection:
            rows = connection.execute(wanted).all()
            if rows:
                mine = update(jobs).where(jobs.c.id.in_([row.id for row in rows]))
                values = {"lease": lease, "free_at": until, "owner": owner, "attempts": jobs.c.attempts + 1}
                connection.execute(mine.values(**values))
        return [replace(_job(row), lease=lease, until=until, attempts=int(row.attempts) + 1) for row in rows]

    def heartbeat(self, job: Job, seconds: float) -> Job | None:
        """Move the deadline of a job that is taken; None: somebody else has it by now, or it is finished."""
        jobs, until = tables.jobs, self._clock() + seconds
        with self._database.writing() as connection:
            held = connection.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.lease == job.lease, jobs.c.done == false())
                .values(free_at=until)
            )
            return replace(job, until=until) if held.rowcount else None

    def hold(self, held: Sequence[Job], seconds: float) -> int:
        """Move the deadlines of many jobs that are taken; how many were still held.

        With 0 seconds anybody may take them at once.
        """
        jobs, count = tables.jobs, 0
        values = {"free_at": self._clock() + seconds}
        with self._database.writing() as connection:
            for start in range(0, len(held), MOST):
                mine = [(job.id, job.lease) for job in sorted(held, key=lambda j: j.id)[start : start + MOST]]
                open_ones = update(jobs).where(
                    tuple_(jobs.c.id, jobs.c.lease).in_(mine), jobs.c.done == false()
                )
                count += connection.execute(open_ones.values(**values)).rowcount
        return count

    def note(self, job: Job, body: Mapping[str, Any]) -> bool:
        """Change the body of a job that is taken; whether it was still held. Raises as :meth:`add`."""
        jobs, written = tables.jobs, _written(body)
        with self._database.writing() as connection:
            held = connection.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.lease == job.lease, jobs.c.done == false())
                .values(body=written)
            )
            return bool(held.rowcount)

    def release(self, job: Job, due: float, *, untried: bool = False) -> bool:
        """Give a job back, to be taken again from a time on; whether it was still held.

        With ``untried`` it does not count how often the job was taken: its owner cannot do such jobs.
        """
        jobs = tables.jobs
        values = {"free_at": due, "lease": None, "owner": "", "attempts": jobs.c.attempts - int(untried)}
        with self._database.writing() as connection:
            held = connection.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.lease == job.lease, jobs.c.done == false())
                .values(**values)
            )
            return bool(held.rowcount)

    def finish(self, *done: Done) -> list[bool]:
        """Finish jobs and record their verdicts, in one transaction; which ones this call's leases finished.

        A job that somebody else took after the deadline is theirs to finish. The verdicts are recorded all
        the same, unless they say otherwise: what was found is found. Repeating a call changes nothing.

        Raises as :meth:`.Verdicts.record`.
        """
        for one in done:
            for verdict in one.verdicts:
                verdict.check_signature()
        with self._database.writing() as connection:
            finished = self._finish(connection, done)
            # last, since it holds the log
            kept = [one.verdicts for one, mine in zip(done, finished, strict=True) if mine or one.late]
            _, lies = record_in(connection, [v for verdicts in kept for v in verdicts], self._policy)
        raise_first(lies)
        return finished

    def _finish(self, connection: Connection, done: Sequence[Done]) -> list[bool]:
        jobs, results = tables.jobs, [_written(one.result) for one in done]
        about = jobs.c.id.in_({one.job.id for one in done})
        # in the order of their numbers, so that two who finish the same jobs never wait for each other
        wanted = select(jobs.c.id, jobs.c.lease, jobs.c.done).where(about).order_by(jobs.c.id)
        rows = connection.execute(wanted.with_for_update()).all()
        held = {(row.id, bytes(row.lease)): bool(row.done) for row in rows if row.lease is not None}
        opened: dict[int, str] = {}
        for one, result in zip(done, results, strict=True):
            if held.get((one.job.id, one.job.lease)) is False:
                opened.setdefault(one.job.id, result)
        if opened:
            finish = update(jobs).where(jobs.c.id == bindparam("the_id"))
            connection.execute(
                finish.values(done=True, finished=self._clock(), result=bindparam("new_result")),
                [{"the_id": number, "new_result": result} for number, result in opened.items()],
            )
        return [(one.job.id, one.job.lease) in held for one in done]

    def count(self) -> dict[str, int]:
        """Return how many jobs are ``done``, ``taken`` and ``waiting``; those past a deadline are waiting."""
        jobs, now = tables.jobs, self._clock()
        taken = (jobs.c.lease.is_not(None)) & (jobs.c.free_at > now)
        state = case((jobs.c.done != false(), "done"), (taken, "taken"), else_="waiting").label("state")
        with self._database.reading() as connection:
            found = connection.execute(select(state, func.count()).group_by(state)).all()
        return {"done": 0, "taken": 0, "waiting": 0} | {row[0]: int(row[1]) for row in found}

    def oldest(self) -> float:
        """Return for how many seconds the oldest job is due that nobody has; 0 if there is none."""
        jobs, now = tables.jobs, self._clock()
        due = select(func.min(jobs.c.free_at)).where(jobs.c.done == false(), jobs.c.free_at <= now)
        with self._database.reading() as connection:
            found = connection.execute(due).scalar()
            return 0.0 if found is None else now - float(found)

    def result(self, name: str) -> dict[str, Any] | None:
        """Return what a finished job came to; None: it is not finished, or there is none of the name."""
        jobs = tables.jobs
        with self._database.reading() as connection:
            found = connection.execute(
                select(jobs.c.result).where(jobs.c.name == name, jobs.c.done != false())
            ).scalar()
            return None if found is None else _read(found)


def _written(value: object) -> str:
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise InputError(f"a job's body and result are JSON: {e}") from e
    if len(text) > _BODY:
        raise LimitError(f"a job's body or result of {len(text)} bytes, at most {_BODY} are allowed")
    return text


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"a job in the ledger is damaged: {e}") from e
    if not isinstance(found, dict):
        raise FormatError("a job in the ledger is damaged: it is no JSON object")
    return found


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        name=row.name,
        kind=row.kind,
        node=None if row.node is None else bytes(row.node),
        receipt=None if row.receipt is None else bytes(row.receipt),
        body=_read(row.body),
        attempts=row.attempts,
        lease=b"" if row.lease is None else bytes(row.lease),
        until=row.free_at,
    )
