"""The numbers of an auditor: each is of what happened, and the ledger's are given while there is a ledger."""

from __future__ import annotations

import time
from math import isnan
from typing import Any
from urllib.request import urlopen

import pytest

from client.standin import NAME, NODE, Service
from ledger.test_desk import cheating, desk, scheduled
from proofcompute.auditing import Plan
from proofcompute.auditing.desk import ATTEMPTS
from proofcompute.auditing.scheduling import CANARY
from proofcompute.client.budget import Budget
from proofcompute.errors import InputError, StorageError
from proofcompute.ledger import Done, Ledger, NewJob, NewNode

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed (extra serve)")
from proofcompute.auditing.metrics import AuditorMetrics, serving_metrics

WHO = NODE.public.hex()
PLAN = Plan(every=60, cells="all", max_tokens=4, budget=Budget(tokens=100_000))


def number(metrics: AuditorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"proofcompute_auditor_{name}", labels)


def add(ledger: Ledger, model: str = NAME, ago: float = 1.0) -> None:
    body = {"model": model, "count": 1}
    ledger.jobs.add(
        NewJob(name="a job", kind=CANARY, node=NODE.public, body=body, due=ledger.jobs._clock() - ago)
    )


@pytest.mark.parametrize(("cheats", "outcome"), [(False, "verified"), (True, "contradicted")])
def test_audits_are_counted_by_node_and_outcome(where: str, cheats: bool, outcome: str) -> None:
    metrics = AuditorMetrics()
    with Ledger.make(where) as ledger:
        made = desk(ledger, cheating() if cheats else Service(), PLAN, events=metrics)
        metrics.watch(made, ledger)
        scheduled(ledger, made, PLAN)
        spent = made.run(until_idle=True)
        assert number(metrics, "audits_total", node=WHO, outcome=outcome) == 1
        assert number(metrics, "jobs_total", kind=CANARY, event="leased") == 1
        assert number(metrics, "jobs_total", kind=CANARY, event="finished") == 1
        assert number(metrics, "spent", amount="tokens") == spent.tokens > 0
        assert number(metrics, "spent", amount="bytes") == spent.nbytes > 0
        assert number(metrics, "budget", amount="tokens") == 100_000
        assert number(metrics, "budget", amount="bytes") is None  # it is not bounded


def test_a_job_that_fails_is_given_back_and_at_last_given_up(where: str) -> None:
    metrics = AuditorMetrics()
    now = [time.time()]
    with Ledger.make(where) as ledger:
        made = desk(ledger, Service(), PLAN, events=metrics, clock=lambda: now[0])
        made.run(until_idle=True)
        ledger.jobs._clock = lambda: now[0]
        add(ledger, model="nobody's")
        for _ in range(ATTEMPTS):
            made.run(until_idle=True)
            now[0] += 61
        assert number(metrics, "jobs_total", kind=CANARY, event="leased") == ATTEMPTS
        assert number(metrics, "jobs_total", kind=CANARY, event="given_back") == ATTEMPTS - 1
        assert number(metrics, "jobs_total", kind=CANARY, event="given_up") == 1
        assert number(metrics, "jobs_total", kind=CANARY, event="finished") is None


def test_a_job_that_another_auditor_has_by_now_is_expired(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = AuditorMetrics()
    with Ledger.make(where) as ledger:
        service = Service()
        made = desk(ledger, service, PLAN, events=metrics)
        made.run(until_idle=True)
        add(ledger)
        work = made._worker.work

        def slowly(*words: Any) -> Any:
            done = work(*words)
            ledger.jobs._clock = lambda: time.time() + 1000  # past the lease
            (taken,) = ledger.jobs.lease("another", 60)
            assert ledger.jobs.finish(Done(taken, (), {})) == [True]
            return done

        monkeypatch.setattr(made._worker, "work", slowly)
        made.run(until_idle=True)
        assert number(metrics, "jobs_total", kind=CANARY, event="expired") == 1
        assert number(metrics, "jobs_total", kind=CANARY, event="finished") is None


def test_the_oldest_job_is_one_that_nobody_has(where: str) -> None:
    with Ledger.make(where) as ledger:
        ledger.fleet.add_node(NewNode(NODE.public, "http://node/v1", "one"))
        now = time.time()
        ledger.jobs._clock = lambda: now
        assert ledger.jobs.oldest() == 0
        add(ledger, ago=-5)
        assert ledger.jobs.oldest() == 0  # it is not due
        now += 12
        assert ledger.jobs.oldest() == pytest.approx(7, abs=0.01)
        (job,) = ledger.jobs.lease("a", 60)
        assert ledger.jobs.oldest() == 0
        now += 70
        assert ledger.jobs.oldest() == pytest.approx(10, abs=0.01)  # whoever took it died
        assert ledger.jobs.finish(Done(job, (), {})) == [True]
        assert ledger.jobs.oldest() == 0


def test_numbers_are_given_while_the_ledger_is_away(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = AuditorMetrics()
    with Ledger.make(where) as ledger:
        metrics.watch(desk(ledger, Service(), PLAN), ledger)
        assert number(metrics, "ledger_up") == 1

        def away() -> float:
            raise StorageError("the database is away")

        monkeypatch.setattr(ledger.jobs, "oldest", away)
        assert number(metrics, "ledger_up") == 0
        waited = number(metrics, "oldest_job_seconds")
        assert waited is not None
        assert isnan(waited)
        with serving_metrics(metrics, "127.0.0.1", 0) as port:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            with (
                pytest.raises(InputError, match="cannot listen"),
                serving_metrics(metrics, "127.0.0.1", port),
            ):
                raise AssertionError("two listen at one port")
        assert "proofcompute_auditor_ledger_up 0.0\n" in text
        assert 'proofcompute_auditor_budget{amount="tokens"} 100000.0\n' in text
