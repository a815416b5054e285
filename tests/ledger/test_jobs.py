"""Jobs: taken by one at a time, taken again after a deadline, finished once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.world import NODES, WRONG, filled, receipt, verdict
from proofcompute.errors import EquivocationError, InputError, LimitError
from proofcompute.ledger import Done, Ledger, NewJob


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(where: str) -> tuple[Ledger, Clock]:
    clock = Clock()
    filled(where).close()
    return Ledger(where, clock=clock), clock


def job(n: int, **more: Any) -> NewJob:
    return NewJob(name=f"audit {n}", kind="audit", node=NODES[0], receipt=receipt(n).digest, **more)


def test_jobs_are_added_once_and_taken_by_one(where: str) -> None:
    ledger, _ = opened(where)
    with ledger, Ledger(where, clock=lambda: 100.0) as other:
        assert ledger.jobs.add(job(0, body={"cells": 5}), job(1, due=50.0), job(0)) == 2
        assert ledger.jobs.add(job(1), job(2, due=101.0)) == 1
        assert ledger.jobs.count() == {"done": 0, "taken": 0, "waiting": 3}
        (first,) = ledger.jobs.lease("a", 10)
        assert (first.name, first.body, first.attempts) == ("audit 0", {"cells": 5}, 1)
        assert (first.node, first.receipt, first.until) == (NODES[0], receipt(0).digest, 110.0)
        (second,) = other.jobs.lease("b", 10, limit=5)  # the third is not due
        assert second.name == "audit 1"
        assert ledger.jobs.lease("a", 10) == []
        assert ledger.jobs.count() == {"done": 0, "taken": 2, "waiting": 1}


def test_jobs_that_are_finished_together_are_each_finished_by_its_own_lease(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(*(job(n) for n in range(3)))
        mine = ledger.jobs.lease("a", 10, limit=3)
        assert [one.name for one in mine] == [f"audit {n}" for n in range(3)]
        clock.now += 11
        theirs = ledger.jobs.lease("b", 10, limit=1)
        assert [(one.name, one.attempts) for one in theirs] == [("audit 0", 2)]
        assert ledger.jobs.release(mine[1], 0.0)
        done = [Done(one, (), {"by": "a"}) for one in reversed(mine)]
        assert ledger.jobs.finish(*done) == [True, False, False]
        assert ledger.jobs.finish(Done(theirs[0], (), {"by": "b"}), Done(theirs[0], (), {"by": "c"})) == [
            True,
            True,
        ]
        assert ledger.jobs.finish() == []
        found = [ledger.jobs.result(f"audit {n}") for n in range(3)]
        assert found == [{"by": "b"}, None, {"by": "a"}]
        assert ledger.jobs.count() == {"done": 2, "taken": 0, "waiting": 1}


def test_a_job_is_taken_again_after_its_deadline_and_finished_once(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        (first,) = ledger.jobs.lease("a", 10)
        clock.now += 5
        assert ledger.jobs.lease("b", 10) == []
        longer = ledger.jobs.heartbeat(first, 10)
        assert longer is not None
        assert longer.until == 115.0
        clock.now += 9
        assert ledger.jobs.lease("b", 10) == []
        clock.now += 1
        (again,) = ledger.jobs.lease("b", 10)
        assert (again.id, again.attempts) == (first.id, 2)
        assert again.lease != first.lease
        assert ledger.jobs.heartbeat(first, 10) is None
        assert not ledger.jobs.release(first, 0.0)
        # what the first found is kept, and the job is not its to finish
        assert ledger.jobs.finish(Done(first, (verdict(0),))) == [False]
        assert ledger.jobs.result("audit 0") is None
        done = Done(again, (verdict(0, by=1),), {"seconds": 2})
        assert ledger.jobs.finish(done) == [True]
        assert ledger.jobs.finish(done) == [True]  # repeated, since nobody heard that it was done
        assert ledger.jobs.finish(Done(first, (verdict(0),))) == [False]
        assert ledger.jobs.result("audit 0") == {"seconds": 2}
        assert ledger.log.size == 2
        assert ledger.jobs.count() == {"done": 1, "taken": 0, "waiting": 0}
        assert ledger.jobs.heartbeat(again, 10) is None
        clock.now += 1000
        assert ledger.jobs.lease("a", 10) == []
        assert ledger.jobs.add(job(0)) == 0


def test_who_finishes_late_but_first_has_finished(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        (first,) = ledger.jobs.lease("a", 10)
        clock.now += 60
        assert ledger.jobs.finish(Done(first)) == [True]
        assert ledger.jobs.lease("b", 10) == []


def test_jobs_are_given_back(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        (first,) = ledger.jobs.lease("a", 1000)
        assert ledger.jobs.release(first, 120.0)
        assert ledger.jobs.lease("b", 10) == []
        clock.now = 120.0
        assert len(ledger.jobs.lease("b", 10)) == 1


def test_jobs_are_for_their_audience_and_of_a_kind(where: str) -> None:
    ledger, _ = opened(where)
    with ledger:
        ledger.jobs.add(job(0, audience="b"), replace(job(1), kind="sign"))
        assert ledger.jobs.lease("a", 10, kinds=["audit"]) == []
        assert [j.kind for j in ledger.jobs.lease("a", 10, limit=9)] == ["sign"]
        assert [j.name for j in ledger.jobs.lease("b", 10, limit=9)] == ["audit 0"]


def test_an_equivocation_finishes_its_job(where: str) -> None:
    ledger, _ = opened(where)
    with ledger:
        ledger.verdicts.record(verdict(0))
        ledger.jobs.add(job(0))
        (taken,) = ledger.jobs.lease("a", 10)
        with pytest.raises(EquivocationError):
            ledger.jobs.finish(Done(taken, (verdict(0, WRONG), verdict(1))))
        assert ledger.jobs.count() == {"done": 1, "taken": 0, "waiting": 0}
        assert ledger.log.size == 3


def test_a_verdict_that_cannot_be_recorded_leaves_the_job(where: str) -> None:
    ledger, _ = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        (taken,) = ledger.jobs.lease("a", 10)
        with pytest.raises(InputError, match="knows no receipt"):
            ledger.jobs.finish(Done(taken, (verdict(0), verdict(77))))
        assert ledger.jobs.count() == {"done": 0, "taken": 1, "waiting": 0}
        assert ledger.log.size == 0


def test_bodies_and_results_are_small_json(where: str) -> None:
    ledger, _ = opened(where)
    with ledger:
        with pytest.raises(InputError, match="JSON"):
            ledger.jobs.add(job(0, body={"x": b"bytes"}))
        with pytest.raises(InputError, match="JSON"):
            ledger.jobs.add(job(0, body={"x": float("nan")}))
        with pytest.raises(LimitError):
            ledger.jobs.add(job(0, body={"x": "y" * (1 << 20)}))
        with pytest.raises(InputError, match="no time"):
            ledger.jobs.lease("a", 0.0)
        with pytest.raises(InputError, match="1 to 1000"):
            ledger.jobs.lease("a", 1.0, limit=0)


def test_a_job_that_comes_with_its_receipt_is_taken_from_the_beginning(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        drawn = ledger.jobs.draw(receipt(7), job(7, body={"model": "m"}), "a", 10.0, bytes(16))
        assert drawn is not None
        assert (drawn.name, drawn.body, drawn.attempts, drawn.until) == ("audit 7", {"model": "m"}, 1, 110.0)
        assert ledger.fleet.receipt(receipt(7).digest) is not None
        assert ledger.jobs.draw(receipt(7), job(7), "b", 10.0, bytes(range(16))) is None
        assert ledger.jobs.lease("b", 10) == []
        assert ledger.jobs.count() == {"done": 0, "taken": 1, "waiting": 0}
        # neither without the other
        with pytest.raises(InputError, match="JSON"):
            ledger.jobs.draw(receipt(8), job(8, body={"x": b"bytes"}), "a", 10.0, bytes(16))
        assert ledger.fleet.receipt(receipt(8).digest) is None
        with pytest.raises(InputError, match="knows no node"):
            ledger.jobs.draw(replace(receipt(9), node=bytes(32)), job(9), "a", 10.0, bytes(16))
        assert ledger.jobs.count() == {"done": 0, "taken": 1, "waiting": 0}
        clock.now += 11
        (again,) = ledger.jobs.lease("b", 10)
        assert (again.id, again.attempts) == (drawn.id, 2)
        # what finds nothing is another's to say, and what was found is kept
        assert ledger.jobs.finish(Done(drawn, (verdict(7),), late=False)) == [False]
        assert ledger.log.size == 0
        assert ledger.jobs.finish(Done(drawn, (verdict(7, WRONG),), late=True)) == [False]
        assert ledger.log.size == 1
        assert ledger.jobs.finish(Done(again, (verdict(7, by=1),), late=False)) == [True]
        assert ledger.log.size == 2


def test_jobs_are_held_together(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(*(job(n, body={"n": n}) for n in range(3)))
        first, *_, last = mine = ledger.jobs.lease("a", 10, limit=3)
        ledger.jobs.finish(Done(last))
        clock.now += 5
        assert ledger.jobs.hold(mine, 10.0) == 2  # one is finished
        clock.now += 9
        assert ledger.jobs.lease("b", 10, limit=3) == []
        assert ledger.jobs.release(first, 0.0)
        assert ledger.jobs.hold(mine, 10.0) == 1
        assert [one.id for one in ledger.jobs.lease("b", 10, limit=3)] == [first.id]
        assert ledger.jobs.hold(mine, 0.0) == 1
        assert len(ledger.jobs.lease("c", 10, limit=3)) == 1
        assert ledger.jobs.hold(mine, 10.0) == 0
        assert ledger.jobs.hold([], 10.0) == 0


def test_who_has_a_job_notes_something(where: str) -> None:
    ledger, clock = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        (first,) = ledger.jobs.lease("a", 10)
        assert ledger.jobs.note(first, {"challenge": "00"})
        clock.now += 11
        (again,) = ledger.jobs.lease("b", 10)
        assert again.body == {"challenge": "00"}
        assert not ledger.jobs.note(first, {})
        with pytest.raises(LimitError):
            ledger.jobs.note(again, {"x": "y" * (1 << 20)})
        ledger.jobs.finish(Done(again))
        assert not ledger.jobs.note(again, {})


def test_who_cannot_do_a_job_has_not_tried(where: str) -> None:
    ledger, _ = opened(where)
    with ledger:
        ledger.jobs.add(job(0))
        assert ledger.jobs.lease("a", 10, nodes=[NODES[1]]) == []
        (first,) = ledger.jobs.lease("a", 10, nodes=NODES)
        assert ledger.jobs.release(first, 0.0, untried=True)
        (again,) = ledger.jobs.lease("a", 10)
        assert (first.attempts, again.attempts) == (1, 1)
