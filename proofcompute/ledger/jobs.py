"""Give work to auditors: a job is taken until a deadline, and finished once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, false, func, select, update

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.ledger import tables
from proofcompute.ledger.database import Database
from proofcompute.ledger.fleet import MOST
from proofcompute.ledger.inserting import insert_new
from proofcompute.ledger.recording import raise_first, record_in
from proofcompute.ledger.records import Done, Job, NewJob
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
        rows = [
            {
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
            for job in jobs
        ]
        with self._database.writing() as connection:
            return insert_new(connection, tables.jobs, rows)

    def lease(
        self, owner: str, seconds: float, *, limit: int = 1, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        """Take up to ``limit`` jobs that are due and that nobody has, the longest due first.

        A job whose deadline has passed is taken again, by whoever asks first.

        Args:
            owner: who takes them; a job that has an audience is for this owner alone.
            seconds: until the deadline.
            limit: the most jobs.
            kinds: the kinds that the owner can do; None: all.
        """
        if not 1 <= limit <= MOST or not seconds > 0:
            raise InputError(f"1 to {MOST} jobs are taken for more than no time")
        jobs, now = tables.jobs, self._clock()
        wanted = select(jobs).where(
            jobs.c.done == false(), jobs.c.free_at <= now, jobs.c.audience.in_(["", owner])
        )
        if kinds is not None:
            wanted = wanted.where(jobs.c.kind.in_(list(kinds)))
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

    def release(self, job: Job, due: float) -> bool:
        """Give a job back, to be taken again from a time on; whether it was still held."""
        jobs = tables.jobs
        with self._database.writing() as connection:
            held = connection.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.lease == job.lease, jobs.c.done == false())
                .values(free_at=due, lease=None, owner="")
            )
            return bool(held.rowcount)

    def finish(self, *done: Done) -> list[bool]:
        """Finish jobs and record their verdicts, in one transaction; which ones this call's leases finished.

        A job that somebody else took after the deadline is theirs to finish. The verdicts are recorded all
        the same: what was found is found. Repeating a call changes nothing.

        Raises as :meth:`.Verdicts.record`.
        """
        for one in done:
            for verdict in one.verdicts:
                verdict.check_signature()
        with self._database.writing() as connection:
            finished = self._finish(connection, done)
            # last, since it holds the log
            _, lies = record_in(connection, [v for one in done for v in one.verdicts], self._policy)
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
        with self._database.reading() as connection:
            done = connection.execute(select(func.count()).where(jobs.c.done != false())).scalar_one()
            opened = select(func.count()).where(jobs.c.done == false())
            taken = connection.execute(
                opened.where(jobs.c.lease.is_not(None), jobs.c.free_at > now)
            ).scalar_one()
            whole = connection.execute(opened).scalar_one()
        return {"done": int(done), "taken": int(taken), "waiting": int(whole) - int(taken)}

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
