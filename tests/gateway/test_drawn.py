"""Audits that were drawn outlive the gateway: the ledger has them with their receipts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from adversary.mutation import Edit, apply
from client.standin import NAME, model
from gateway.standing import CHAT, IDENTITIES, STREAM, asked, entry, gateway, honest, standing, the_model
from gateway.test_auditing import audited, cheating, files
from gateway.test_shared import IDENTITY, books_of, sharing
from proofcompute.auditing.desk import AGAIN, ATTEMPTS, LEASE, Desk
from proofcompute.auditing.fleet import FleetModel, FleetNode
from proofcompute.auditing.scheduling import Plan
from proofcompute.auditing.working import DRAWN, Worker
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, StorageError
from proofcompute.gateway import Gateway, ModelsFile
from proofcompute.gateway.auditing import Auditing
from proofcompute.gateway.federation import Audits
from proofcompute.gateway.recovering import recover
from proofcompute.gateway.shared import LedgerBooks
from proofcompute.ledger import Ledger, tables

__all__ = ["files"]
AUDITOR = NodeIdentity(bytes(range(7, 39)))
Change = Callable[[Gateway], None]


def rows(ledger: Ledger) -> list[Any]:
    """The jobs of drawn audits."""
    jobs = tables.jobs
    with ledger.database.reading() as connection:
        return list(connection.execute(select(jobs).where(jobs.c.kind == DRAWN).order_by(jobs.c.id)).all())


def killed(nodes: dict[str, Any], where: Path, files: Path, *bodies: Any, **options: Any) -> Ledger:
    """What is left of a gateway that is killed between its draws and the audits."""
    made = sharing(nodes, where, files, **options)
    made.auditing.add = lambda drawn: None  # type: ignore[method-assign]
    asked(made, *(bodies or (CHAT,)))
    return books_of(made).ledger


def later(made: Gateway, seconds: float) -> None:
    """Let a gateway's ledger see another time."""
    ledger = books_of(made).ledger
    ledger.jobs._clock = ledger.clock = lambda: time.time() + seconds


def recovered(made: Gateway, seconds: float = LEASE + 1) -> None:
    """A gateway looks for what nobody audits, when so many seconds have passed."""
    later(made, seconds)

    async def look() -> None:
        async with standing(made):
            await asyncio.to_thread(recover, made)
            await asyncio.to_thread(made.auditing.settle)

    asyncio.run(look())


def in_the_ledger(folder: Path, files: Path) -> None:
    """Before an answer ends, the ledger has its receipt and its audit, which is the gateway's to make."""
    made = sharing({"north": honest("north")}, folder / "ledger", files)
    ledger, seen = books_of(made).ledger, []
    usual = made.records.checked

    def checked(record: Any, choice: Any) -> None:
        usual(record, choice)
        (row,) = rows(ledger)
        (receipt,) = ledger.fleet.receipts()
        seen.append((bytes(row.receipt) == receipt.digest, bool(row.done), row.attempts, bool(row.lease)))

    made.records.checked = checked  # type: ignore[method-assign]
    asked(made, CHAT)
    assert seen == [(True, False, 1, True)]
    (row,) = rows(ledger)
    assert row.done
    assert json.loads(row.result) == {"state": "verified", "auditor": IDENTITY.public.hex()}
    assert len(ledger.verdicts.verdicts()) == 1
    books_of(made).close()


def outlives(folder: Path, files: Path) -> None:
    """The next gateway makes the audits of one that was killed, once, and knows the answers again."""
    where, nodes = folder / "ledger", {"north": honest("north")}
    killed(nodes, where, files, CHAT, {**CHAT, "n": 2}).close()
    made = sharing(nodes, where, files)
    ledger = books_of(made).ledger
    names = {json.loads(row.body)["answer"] for row in rows(ledger)}
    recovered(made, 0.0)  # whoever drew them may live yet
    assert ledger.verdicts.verdicts() == []
    again = sharing(nodes, where, files)
    recovered(again)
    assert all(row.done for row in rows(ledger))
    assert len(ledger.verdicts.verdicts()) == len(ledger.fleet.receipts()) == 3
    assert {record.id: record.level for record in again.records.newest(9)} == dict.fromkeys(
        names, "fully audited"
    )
    recovered(sharing(nodes, where, files))
    assert ledger.log.size == 3
    books_of(made).close()


def crashing_cheat(folder: Path, files: Path) -> None:
    """A node that crashes the gateway when its lie was drawn is found out all the same."""
    where, nodes = folder / "ledger", {"north": cheating("north", "other weights")}
    killed(nodes, where, files).close()
    made = sharing(nodes, where, files)
    recovered(made)
    assert made.fleet.members["north"].state == "quarantined"
    assert books_of(made).ledger.fleet.count_nodes()["quarantined"] == 1
    books_of(made).close()


def broken_off(folder: Path, files: Path) -> None:
    """A node that breaks its answer off after the receipt is audited as others are."""
    north = honest("north", rewrite=lambda events: events[:-1])
    made = sharing({"north": north}, folder / "ledger", files)
    (said,) = asked(made, STREAM)
    assert b"broken_answer" in said.body
    ledger = books_of(made).ledger
    assert [row.done for row in rows(ledger)] == [True]
    assert len(ledger.verdicts.verdicts()) == 1
    books_of(made).close()


def too_late(folder: Path, files: Path, cheat: str | None = None) -> None:
    """An audit that took longer than its lease: whoever has the job now says that an answer holds."""
    north = honest("north") if cheat is None else cheating("north", cheat)
    made = sharing({"north": north}, folder / "ledger", files)
    ledger, usual = books_of(made).ledger, made.books.verdict

    def verdict(*found: Any) -> bool:
        later(made, LEASE + 1)
        assert len(ledger.jobs.lease("another", 60.0, kinds=[DRAWN])) == 1
        return usual(*found)

    made.books.verdict = verdict  # type: ignore[method-assign, assignment]
    asked(made, CHAT)
    assert [row.done for row in rows(ledger)] == [False]
    kinds = [one.verdict.outcome.kind for one in ledger.verdicts.verdicts()]
    (record,) = made.records.newest(1)
    if cheat is None:
        assert (kinds, record.level) == ([], "receipted")
    else:
        assert (kinds, record.level) == (["contradicted"], "contradicted")
    books_of(made).close()


def held(folder: Path, files: Path) -> None:
    """A gateway that lives keeps what waits for it."""
    made = sharing({"north": honest("north")}, folder / "ledger", files)
    waiting, go = made.auditing._run, threading.Event()

    def run(drawn: Any, what: Any) -> None:
        assert go.wait(60)
        waiting(drawn, what)

    made.auditing._run = run  # type: ignore[method-assign, assignment]
    ledger = books_of(made).ledger

    async def ask() -> None:
        async with standing(made):
            made.auditing.settle = lambda: None  # type: ignore[method-assign]
            import httpx2

            from proofcompute.gateway import application

            transport = httpx2.ASGITransport(app=application(made))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
            for _ in range(3):
                later(made, LEASE * 0.9)
                await asyncio.to_thread(recover, made)
                later(made, LEASE * 1.8)
                free = ledger.jobs.lease("another", 60.0, kinds=[DRAWN])
                go.set()
                assert free == []

    asyncio.run(ask())
    books_of(made).close()


def asked_too_late(folder: Path, files: Path) -> None:
    """A node that would refuse what is taken over when its time is over is not asked, and not accused."""
    where = folder / "ledger"
    killed({"north": honest("north")}, where, files, by="opening").close()
    north = honest("north", open=lambda *_: (429, {}, b'{"error": {"message": "it is gone"}}'))
    made = sharing({"north": north}, where, files, "opening")
    receipts = tables.receipts
    with books_of(made).ledger.database.writing() as connection:
        connection.execute(update(receipts).values(made=receipts.c.made - 3601))  # it promised an hour
    recovered(made)
    assert made.fleet.members["north"].state == "asked"
    assert not [path for method, path, *_ in north.asked if method == "POST"]
    assert books_of(made).ledger.verdicts.verdicts() == []
    assert [bool(row.done) for row in rows(books_of(made).ledger)] == [False]
    books_of(made).close()


def again_and_again(folder: Path, files: Path) -> None:
    """Gateways that are killed before their verdict send one challenge: a node answers few others."""
    north, where = honest("north"), folder / "ledger"
    weights = ModelsFile(
        version=1,
        models=(the_model(audit=Audits(by="opening", share=1.0, cells=2), weights=str(files / "weights")),),
    )
    seconds = 0.0
    for life in range(4):
        books = LedgerBooks(where, IDENTITY, [entry("north")])
        made = gateway({"north": north}, models=weights, books=books, identity=IDENTITY)
        if life < 3:
            made.auditing._ended = lambda *_: None  # killed before it says what it found
        if life == 0:
            asked(made, CHAT)
        else:
            seconds += LEASE + 1
            recovered(made, seconds)
        books.close()
    sent = [body for method, path, _, body in north.asked if method == "POST" and path.endswith("/open")]
    assert len(sent) == 4
    assert len(set(sent)) == 1
    with Ledger(where) as ledger:
        assert [bool(row.done) for row in rows(ledger)] == [True]
        assert len(ledger.verdicts.verdicts()) == 1


@pytest.mark.parametrize(
    "attack",
    [again_and_again, in_the_ledger, outlives, crashing_cheat, broken_off, held, too_late, asked_too_late],
)
def test_an_audit_that_was_drawn_is_made(
    attack: Callable[[Path, Path], None], tmp_path: Path, files: Path, synchronous: None
) -> None:
    attack(tmp_path, files)


def test_what_an_audit_finds_against_a_node_is_kept_however_late(tmp_path: Path, files: Path) -> None:
    too_late(tmp_path, files, "other weights")


def auditor(ledger: Ledger, names: tuple[str, ...] = (NAME,)) -> Desk:
    node = FleetNode("north", entry("north").url, IDENTITIES["north"].public, (NAME,))
    models = [FleetModel(name, model()) for name in names]
    plan = Plan(replay=True)
    worker = Worker(ledger, {node.key: node}, {m.name: m for m in models}, AUDITOR, plan, device="numpy")
    from client.standin import KERNELS

    return Desk(ledger, [node], models, worker, plan, owner="auditor", kernels=KERNELS)


def test_an_auditor_makes_what_a_dead_gateway_drew(tmp_path: Path, files: Path) -> None:
    ledger = killed({"north": honest("north")}, tmp_path / "ledger", files)
    auditor(ledger).run(until_idle=True)
    assert ledger.verdicts.verdicts() == []
    ledger.jobs._clock = lambda: time.time() + LEASE + 1
    # one that does not know the model leaves the job as it was
    strange = auditor(ledger, ("other",))
    strange._clock = ledger.jobs._clock
    strange.run(until_idle=True)
    (row,) = rows(ledger)
    assert (row.done, row.attempts, row.lease) == (False, 1, None)
    ledger.jobs._clock = lambda: time.time() + LEASE + AGAIN + 2
    spent = auditor(ledger).run(until_idle=True)
    assert spent.states == {"verified": 1}
    (found,) = ledger.verdicts.verdicts()
    assert found.verdict.auditor == AUDITOR.public
    # it was killed after the verdict, before the job was finished: it says nothing twice
    jobs = tables.jobs
    with ledger.database.writing() as connection:
        connection.execute(update(jobs).values(done=False, lease=None, free_at=0.0))
    assert auditor(ledger).run(until_idle=True).states == {}
    assert [bool(row.done) for row in rows(ledger)] == [True]
    assert ledger.log.size == 1
    ledger.close()


def test_what_nobody_can_audit_is_given_up_and_counted(tmp_path: Path, files: Path) -> None:
    where, nodes = tmp_path / "ledger", {"north": honest("north")}
    ledger = killed(nodes, where, files, CHAT, {**CHAT, "seed": 5}, {**CHAT, "seed": 6})
    first, second, third = rows(ledger)
    jobs, answers = tables.jobs, tables.answers
    with ledger.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == first.id).values(attempts=ATTEMPTS))
        connection.execute(answers.delete().where(answers.c.digest == second.receipt))
        connection.execute(update(jobs).where(jobs.c.id == third.id).values(body='{"model":"tiny"}'))
    made = sharing(nodes, where, files)
    recovered(made)
    left = made.metrics.registry.get_sample_value
    for why in ("given_up", "not_kept"):
        assert left("proofcompute_gateway_audits_left_out_total", {"why": why}) == 1
    assert [(bool(row.done), row.result) for row in rows(ledger)] == [
        (True, '{"error":"given_up"}'),
        (True, '{"error":"not_kept"}'),
        (False, ""),
    ]
    assert rows(ledger)[2].free_at > time.time() + LEASE + AGAIN - 1  # another one may understand it
    assert ledger.verdicts.verdicts() == []
    assert made.fleet.members["north"].state == "asked"
    ledger.close()
    books_of(made).close()


def test_a_gateway_without_the_model_leaves_its_audits_to_others(tmp_path: Path, files: Path) -> None:
    where, nodes = tmp_path / "ledger", {"north": honest("north")}
    ledger = killed(nodes, where, files)
    books = LedgerBooks(where, IDENTITY, [entry("north")])
    books.ledger.jobs._clock = books.ledger.clock = lambda: time.time() + LEASE + 1
    assert books.left([IDENTITIES["south"].public], {NAME: model().card}) == []
    assert rows(ledger)[0].attempts == 1
    assert books.left([IDENTITIES["north"].public], {}) == []
    (row,) = rows(ledger)
    assert (row.done, row.attempts, row.lease) == (False, 1, None)
    books.close()
    ledger.close()


def test_an_audit_that_fails_is_tried_again(tmp_path: Path, files: Path, synchronous: None) -> None:
    """By whoever takes it then, some times; the node is not accused for the auditor's fault."""
    north = honest("north", open=lambda *_: (401, {}, b"{}"))
    where = tmp_path / "ledger"
    made = sharing({"north": north}, where, files, "opening")
    asked(made, CHAT)
    ledger, seconds = books_of(made).ledger, 0.0
    for attempt in range(1, ATTEMPTS + 1):
        (row,) = rows(ledger)
        assert (bool(row.done), row.attempts) == (attempt == ATTEMPTS, attempt)
        left = made.metrics.registry.get_sample_value(
            "proofcompute_gateway_audits_left_out_total", {"why": "fault"}
        )
        assert (left or 0) == int(attempt == ATTEMPTS)
        seconds += AGAIN + 1
        books_of(made).close()
        made = sharing({"north": north}, where, files, "opening")
        ledger = books_of(made).ledger
        if attempt < ATTEMPTS:
            recovered(made, seconds)
    assert ledger.verdicts.verdicts() == []
    books_of(made).close()


# -- the end of a gateway ----------------------------------------------------------------------------------
def test_a_gateway_that_ends_leaves_what_waits_to_others_at_once(tmp_path: Path, files: Path) -> None:
    made = sharing({"north": honest("north")}, tmp_path / "ledger", files)
    ledger, go, began = books_of(made).ledger, threading.Event(), threading.Event()
    waiting, drawn = made.auditing._run, list[Any]()

    def run(one: Any, what: Any) -> None:
        drawn.append(one)
        began.set()
        assert go.wait(60)
        waiting(one, what)

    made.auditing._run = run  # type: ignore[method-assign, assignment]
    made.auditing.settle = lambda: None  # type: ignore[method-assign]
    object.__setattr__(made.patience, "closing", 0.05)
    asked(made, CHAT, {**CHAT, "seed": 5})
    assert began.is_set()
    taken = ledger.jobs.lease("another", 60.0, limit=9, kinds=[DRAWN])
    assert len(taken) == 2
    go.set()
    made.auditing._threads["north"].shutdown()
    assert ledger.verdicts.verdicts() == []  # the other one has them
    made.auditing.add(drawn[0])  # nothing begins any more
    assert not made.auditing._jobs
    books_of(made).close()


def test_a_gateway_that_ends_waits_no_longer_for_a_database(tmp_path: Path, files: Path) -> None:
    made = sharing({"north": honest("north")}, tmp_path / "ledger", files)
    ledger, away = books_of(made).ledger, threading.Event()

    def gone(*_: Any, **__: Any) -> Any:
        away.set()
        raise StorageError("the database is away")

    ledger.jobs.finish = ledger.jobs.hold = gone  # type: ignore[method-assign]
    made.auditing.settle = lambda: None  # type: ignore[method-assign]
    object.__setattr__(made.patience, "closing", 0.05)
    asked(made, CHAT)
    assert away.wait(60)
    made.auditing._threads["north"].shutdown()  # it would take ten minutes otherwise
    assert made.records.newest(1)[0].level == "receipted"
    assert [bool(row.done) for row in rows(ledger)] == [False]
    books_of(made).close()


def test_jobs_are_taken_for_some_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than no time"):
        LedgerBooks(tmp_path / "ledger", IDENTITY, [], lease=0.0)


def test_only_the_share_and_the_draw_decide(files: Path) -> None:
    """Who the node is and what it said do not matter, and the draw is the system's."""
    import random

    import proofcompute.gateway.auditing as module

    assert isinstance(module._RANDOM, random.SystemRandom)
    made = gateway({"north": honest("north")}, models=audited(files, "replay", share=0.25))
    drawn = sum(made.auditing.draws(NAME) for _ in range(4000))
    assert 850 < drawn < 1150
    assert not made.auditing.draws("unknown")
    assert list(Auditing.draws.__annotations__) == ["model", "return"]


# -- the checks, removed one by one ------------------------------------------------------------------------
Attack = Callable[[Path, Path], None]
MUTANTS: dict[str, tuple[str, str, str, Attack]] = {
    "a draw is written with its receipt": (
        "gateway.shared",
        "        if drawn is None:\n",
        "        if True:\n",
        crashing_cheat,
    ),
    "what a dead gateway drew is taken over": (
        "gateway.recovering",
        "in gateway.books.left(list(able), auditing.cards):",
        "in ():",
        crashing_cheat,
    ),
    "an answer that is broken off is audited": (
        "gateway.relaying",
        "        for one in drawn:\n",
        "        for one in drawn if len(self.asked.record.choices) < 1 else ():\n",
        broken_off,
    ),
    "a challenge is sent again": ("gateway.auditing", "earlier=challenge_of(job),", "", again_and_again),
    "a challenge is written before it is sent": (
        "gateway.shared",
        "note_challenge(self.ledger, job, challenge)",
        "pass",
        again_and_again,
    ),
    "what waits is held": ("gateway.recovering", "    auditing.hold()\n", "    pass\n", held),
    "what another one audits is left to it": (
        "gateway.shared",
        "late=state in FAILED",
        "late=True",
        too_late,
    ),
    "an audit counts if the ledger has it": (
        "gateway.gateway",
        'if not mine and state == "verified":',
        "if False:",
        too_late,
    ),
    "who takes over asks in time": (
        "gateway.auditing",
        "elif is_late(job := drawn.job, checked, time.time()):",
        "elif (job := drawn.job) is None:",
        asked_too_late,
    ),
    "an auditor leaves what it does not know": (
        "auditing.desk",
        "if job.kind == DRAWN and not self._worker.knows(job):",
        "if False:",
        lambda folder, files: test_an_auditor_makes_what_a_dead_gateway_drew(folder, files),
    ),
    "an auditor says nothing twice": (
        "auditing.working",
        "if job.kind == DRAWN and self._has_said(receipt):",
        "if False:",
        lambda folder, files: test_an_auditor_makes_what_a_dead_gateway_drew(folder, files),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_draw_is_escaped_only_without_the_check(
    name: str, tmp_path: Path, files: Path, synchronous: None
) -> None:
    module, old, new, attack = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (Edit(module, old, new),))
        with pytest.raises((AssertionError, ValueError)):
            attack(tmp_path, files)
