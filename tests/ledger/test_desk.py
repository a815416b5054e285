"""Auditors of a fleet: what they find is in the ledger, with evidence, whoever of them found it."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from client import test_public_audits as proofs
from client.campaigns import key
from client.standin import BASE, KERNELS, MESSAGES, NAME, NODE, OTHER, Service, model
from ledger.world import digest
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.auditing import Committee, Desk, FleetModel, FleetNode, Plan, Worker
from proofcompute.auditing.scheduling import schedule
from proofcompute.auditing.turning import receipt_of
from proofcompute.bls.signatures import VerdictKey
from proofcompute.client.budget import Budget
from proofcompute.client.transport import ProofTransport
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, StorageError
from proofcompute.ledger import Ledger, NewJob
from proofcompute.ledger.restoring import check_ledger
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Terms
from proofcompute.prover.node import Node
from proofcompute.verdicts import Member, QuorumPolicy
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

ME = NodeIdentity(digest("an auditor"))


def cheating() -> Service:
    """A node that answers with other weights."""
    service = Service()
    honest = model()
    name = honest.program.weights[0].name
    tensor = honest.weights[name]
    assert isinstance(tensor, Matrix)
    other = replace(honest, weights={**honest.weights, name: replace(tensor, q=tensor.q // 2)})
    service.node = Node(other, NODE, device=KERNELS, terms=service.terms)
    return service


def node(service: Service | None = None) -> FleetNode:
    identity = NODE if service is None else service.identity
    return FleetNode("one", BASE, identity.public, (NAME,))


def desk(
    ledger: Ledger, service: Service, plan: Plan, committee: Committee | None = None, **options: Any
) -> Desk:
    service.draw = lambda: secrets.token_bytes(32)
    holds = options.pop("holds", None) or (model() if plan.replay else key())
    models = [FleetModel(NAME, holds)]
    nodes = [node(service)]

    def failed(verdict: Any, evidence: bytes) -> None:
        if committee is not None and evidence:
            committee.call(ledger, verdict.receipt_digest, evidence, NAME)

    worker = Worker(
        ledger,
        {n.key: n for n in nodes},
        {m.name: m for m in models},
        options.pop("identity", ME),
        plan,
        device=KERNELS,
        failed=failed,
        library=httpx2,
        inner=lambda _: service.transport(httpx2),
    )
    return Desk(
        ledger,
        nodes,
        models,
        worker,
        plan,
        owner=options.pop("owner", "a"),
        kernels=KERNELS,
        committee=committee,
        **options,
    )


def scheduled(ledger: Ledger, made: Desk, plan: Plan) -> None:
    """Add the node and the jobs of a slot, all due at once."""
    made.run(until_idle=True)
    assert schedule(ledger, [node()], plan, time.time()) == 1
    ledger.jobs._clock = lambda: time.time() + plan.every


@pytest.mark.parametrize("replay", [False, True])
def test_an_honest_node_is_trusted_more(where: str, replay: bool) -> None:
    plan = Plan(every=60, count=2, cells=3, replay=replay, max_tokens=4)
    with Ledger.make(where) as ledger:
        made = desk(ledger, Service(), plan)
        scheduled(ledger, made, plan)
        assert schedule(ledger, [node()], plan, time.time() - time.time() % 60) <= 1
        spent = made.run(until_idle=True)
        assert spent.states["verified"] >= 2
        assert spent.tokens > 0
        known = ledger.fleet.node(NODE.public)
        assert known is not None
        assert (known.state, known.trust.counts.failed) == ("active", 0.0)
        found = ledger.verdicts.verdicts()
        assert len(found) == known.receipts == known.trust.counts.audits >= 2
        one = found[0].verdict
        assert (one.check, one.auditor) == ("replay" if replay else "cells", ME.public)
        assert one.complete == replay
        assert 0 < one.chance < 1 or replay
        level = ledger.fleet.receipt(one.receipt_digest)
        assert level is not None
        assert level.level == ("audited" if replay else "sampled")
        check_ledger(ledger)


@pytest.mark.parametrize("replay", [False, True])
def test_a_cheat_is_quarantined_with_evidence_that_is_decided_again(where: str, replay: bool) -> None:
    plan = Plan(every=60, cells="all", replay=replay, max_tokens=4)
    with Ledger.make(where) as ledger:
        made = desk(ledger, cheating(), plan)
        scheduled(ledger, made, plan)
        assert made.run(until_idle=True).states == {"contradicted": 1}
        known = ledger.fleet.node(NODE.public)
        assert known is not None
        assert known.state == "quarantined"
        (one,) = ledger.verdicts.verdicts(outcome="contradicted")
        assert one.verdict.chance == 1.0
        data = ledger.verdicts.evidence(one.verdict.evidence_digest)
        assert data is not None
        judged = verify_evidence(Bundle.decode(data), model(), kernels=KERNELS)
        assert judged.finding is Finding.CONTRADICTED
        # it gets no canaries any more
        assert schedule(ledger, [node()], replace(plan, every=61), time.time()) == 0
        check_ledger(ledger)


@pytest.mark.parametrize("cheat", [None, "other weights"])
def test_public_proofs_come_to_verdicts_that_anybody_decides(cheat: str | None, tmp_path: Path) -> None:
    plan = Plan(every=60, cells="all" if cheat else 4, max_tokens=8)
    service = proofs.service() if cheat is None else proofs.cheating(cheat)
    with Ledger.make(tmp_path / "ledger") as ledger:
        made = desk(ledger, service, plan, holds=proofs.holds())
        scheduled(ledger, made, plan)
        assert made.run(until_idle=True).states == {"verified" if cheat is None else "contradicted": 1}
        (one,) = ledger.verdicts.verdicts()
        assert one.verdict.check == "cells"
        known = ledger.fleet.node(NODE.public)
        assert known is not None
        assert known.state == ("active" if cheat is None else "quarantined")
        if cheat is not None:
            data = ledger.verdicts.evidence(one.verdict.evidence_digest)
            assert data is not None
            judged = verify_evidence(Bundle.decode(data), proofs.holds(), kernels=KERNELS)
            assert judged.finding is Finding.CONTRADICTED
        check_ledger(ledger)


def test_silence_is_a_verdict_and_an_answer_that_never_came_is_none(tmp_path: Path) -> None:
    plan = Plan(every=60, cells=2, max_tokens=4)
    terms = Terms.of(NODE, base=0, rate=1_000_000, retention=3600)
    silent = Service(terms=terms, open=lambda *_: (503, {}, b""))
    with Ledger.make(tmp_path / "silent.db") as ledger:
        made = desk(ledger, silent, plan)
        scheduled(ledger, made, plan)
        assert made.run(until_idle=True).states == {"silent": 1}
        (one,) = ledger.verdicts.verdicts()
        assert one.verdict.outcome.kind == "silent"
        known = ledger.fleet.node(NODE.public)
        assert known is not None
        assert (known.state, known.trust.counts.failed) == ("active", 1.0)
    with Ledger.make(tmp_path / "other.db") as ledger:
        made = desk(ledger, Service(status=400), plan)
        scheduled(ledger, made, plan)
        assert made.run(until_idle=True).states == {"unanswered": 1}
        assert ledger.log.size == 0


def test_answers_that_a_gateway_kept_are_audited(where: str) -> None:
    service = Service()
    service.draw = lambda: secrets.token_bytes(32)
    kept: list[Any] = []
    transport = ProofTransport(
        BASE, model().card, inner=service.transport(httpx2), on_checked=kept.append, terms=True
    )
    with httpx2.Client(transport=transport) as asking:
        asking.post(f"{BASE}/chat/completions", json={"model": NAME, "messages": MESSAGES, "max_tokens": 4})
    (checked,) = kept
    assert service.terms is not None
    plan = Plan(cells=2)
    with Ledger.make(where) as ledger:
        made = desk(ledger, service, plan)
        made.run(until_idle=True)
        about = receipt_of(checked, keep=True)
        ledger.fleet.add_terms(NODE.public, service.terms.digest, service.terms.encode())
        ledger.fleet.add_receipts([about])
        body = {"model": NAME}
        job = NewJob(name="answer 1", kind="answer", node=NODE.public, receipt=about.digest, body=body)
        lost = replace(job, name="answer 2", body={"model": "unknown"})
        ledger.jobs.add(job, lost)
        spent = made.run(until_idle=True)
        assert spent.states == {"verified": 1}
        (one,) = ledger.verdicts.of_receipt(about.digest)
        assert one.verdict.outcome.kind == "accepted"
        assert ledger.jobs.count() == {"done": 1, "taken": 0, "waiting": 1}


def test_a_ledger_that_is_away_while_it_is_read_ends_no_auditor(tmp_path: Path) -> None:
    service = Service()
    service.draw = lambda: secrets.token_bytes(32)
    kept: list[Any] = []
    inner = service.transport(httpx2)
    transport = ProofTransport(BASE, model().card, inner=inner, on_checked=kept.append, terms=True)
    with httpx2.Client(transport=transport) as asking:
        asking.post(f"{BASE}/chat/completions", json={"model": NAME, "messages": MESSAGES, "max_tokens": 4})
    assert service.terms is not None
    about = receipt_of(kept[0], keep=True)
    left = 3
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        made = desk(ledger, service, Plan(replay=True))
        made.run(until_idle=True)
        ledger.fleet.add_terms(NODE.public, service.terms.digest, service.terms.encode())
        ledger.fleet.add_receipts([about])
        body = {"model": NAME}
        ledger.jobs.add(
            NewJob(name="answer", kind="answer", node=NODE.public, receipt=about.digest, body=body)
        )
        answer = ledger.fleet.answer

        def away(digest: bytes) -> Any:
            nonlocal left
            if left:
                left -= 1
                raise StorageError("away")
            return answer(digest)

        ledger.fleet.answer = away  # type: ignore[method-assign]
        assert made.run(until_idle=True).states == {"verified": 1}
    assert left == 0


def test_a_job_that_nobody_can_do_is_given_up(tmp_path: Path) -> None:
    now = [1000.0]
    Ledger.make(tmp_path / "ledger.db").close()
    with Ledger(tmp_path / "ledger.db", clock=lambda: now[0]) as ledger:
        made = desk(ledger, Service(), Plan(), clock=lambda: now[0])
        made.run(until_idle=True)
        ledger.jobs.add(NewJob(name="x", kind="answer", node=NODE.public, body={"model": "unknown"}))
        for _ in range(5):
            made.run(until_idle=True)
            now[0] += 61
        found = ledger.jobs.result("x")
        assert found is not None
        assert "does not know" in found["error"]
        ledger.jobs.add(NewJob(name="y", kind="answer", node=NODE.public, body={"model": NAME}))
        for _ in range(5):  # auditors that are killed
            ledger.jobs.lease("b", 1)
            now[0] += 2
        made.run(until_idle=True)
        assert ledger.jobs.result("y") == {"error": "given up"}


def test_a_budget_ends_a_run_and_leaves_the_job_to_others(tmp_path: Path) -> None:
    plan = Plan(every=60, count=40, cells=1, max_tokens=4, budget=Budget(tokens=400))
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        made = desk(ledger, Service(), plan)
        scheduled(ledger, made, plan)
        spent = made.run(until_idle=True)
        assert "400 tokens is used up" in spent.stopped
        assert ledger.jobs.count()["waiting"] == 1
        assert ledger.log.size == sum(spent.states.values()) > 0
    with pytest.raises(InputError):
        Plan(every=0)


def committee(*secrets_: VerdictKey, threshold: int) -> QuorumPolicy:
    return QuorumPolicy.of(
        [Member(k.public, k.possession()) for k in secrets_],
        name="c",
        threshold=threshold,
        valid_from=0,
        valid_until=1 << 40,
        longest=3600,
    )


def test_a_committee_signs_together(where: str) -> None:
    keys = [VerdictKey.new() for n in range(3)]
    policy = committee(*keys, threshold=2)
    plan = Plan(every=60, cells="all", max_tokens=4)
    with Ledger.make(where) as ledger:
        service = cheating()
        desks = [
            desk(
                ledger,
                service,
                plan,
                Committee(policy, k),
                owner=f"auditor {n}",
                identity=NodeIdentity(digest(n)),
            )
            for n, k in enumerate(keys)
        ]
        scheduled(ledger, desks[0], plan)
        desks[0].run(until_idle=True)
        (one,) = ledger.verdicts.verdicts()
        assert ledger.verdicts.quorums(one.verdict.receipt_digest) == []
        desks[1].run(until_idle=True)
        ((leaf, verdict),) = ledger.verdicts.quorums(one.verdict.receipt_digest)
        assert leaf == 1
        assert verdict.statement.outcome.kind == "contradicted"
        desks[2].run(until_idle=True)  # a third signature changes nothing
        assert len(ledger.verdicts.quorums(one.verdict.receipt_digest)) == 1
        assert ledger.jobs.count() == {"done": 4, "taken": 0, "waiting": 0}
        assert check_ledger(ledger).quorums == 1


def test_auditors_side_by_side_share_the_jobs(tmp_path: Path) -> None:
    plan = Plan(cells=1, max_tokens=4)
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        first = desk(ledger, Service(), plan)
        first.run(until_idle=True)
        body = {"model": NAME, "count": 1}
        ledger.jobs.add(*(NewJob(name=f"{n}", kind="canary", node=NODE.public, body=body) for n in range(6)))
        desks = [
            desk(ledger, Service(), plan, owner=str(n), identity=NodeIdentity(digest(n))) for n in range(2)
        ]
        threads = [threading.Thread(target=d.run, kwargs={"until_idle": True}) for d in desks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(d.spent.jobs for d in desks) == 6
        assert ledger.jobs.count()["done"] == ledger.log.size == 6


def test_a_stopped_auditor_takes_nothing_more(tmp_path: Path) -> None:
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        made = desk(ledger, Service(), Plan())
        made.stop()
        assert made.run().jobs == 0


def test_another_nodes_key_is_no_receipt_of_this_node(tmp_path: Path) -> None:
    """Who answers with another key is contradicted, and neither key gets a verdict."""
    plan = Plan(every=60, cells=1, max_tokens=4)
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        service = Service()
        made = desk(ledger, service, plan)
        scheduled(ledger, made, plan)
        service.identity = OTHER
        service.node = Node(model(), OTHER, device=KERNELS)
        spent = made.run(until_idle=True)
        assert spent.states == {"contradicted": 1}
        assert ledger.log.size == 0
        assert ledger.fleet.node(OTHER.public) is None


def test_a_database_that_is_away_is_waited_for() -> None:
    from proofcompute.auditing.patience import patiently

    left = [StorageError("away"), StorageError("away")]

    def call() -> str:
        if left:
            raise left.pop()
        return "here"

    assert patiently(call) == "here"
    with pytest.raises(StorageError):
        patiently(lambda: (_ for _ in ()).throw(StorageError("away")), seconds=-1)
