"""Audits in the background: levels rise, cheats are quarantined with evidence, nothing is left out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.standin import KERNELS, NAME, Service, model, prompter
from client.test_public_audits import proving, published, terms
from gateway.standing import (
    CHAT,
    IDENTITIES,
    MORE,
    STREAM,
    asked,
    gateway,
    honest,
    settled,
    standing,
    the_model,
)
from proofcompute import write_key
from proofcompute.errors import InputError
from proofcompute.gateway import Gateway, Journal, ModelsFile
from proofcompute.gateway.auditing import MOST
from proofcompute.gateway.federation import Audits
from proofcompute.gateway.journal import Known, Quarantine
from proofcompute.gateway.trust import Trust
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Answer
from proofcompute.public.openings import ByPublicProof
from proofcompute.testing import CHEATS
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

HELD = {c.name: c for c in CHEATS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    model().save(folder / "weights")
    published().key.save(folder / "public")
    write_key(model(), KERNELS, folder / "key")
    return folder


def audited(files: Path, by: str, *, share: float = 1.0, cells: Any = 16) -> ModelsFile:
    name = {"replay": "weights", "opening": "key", "public": "public"}[by]
    held = {name: str(files / name)}
    plan = Audits(by=by, share=share, cells=cells)  # type: ignore[arg-type]
    return ModelsFile(version=1, models=(the_model(audit=plan, **held),))


def cheating(name: str, cheat: str, **options: Any) -> Service:
    """A node that cheats and commits to what it did, and opens it as well as it can."""
    service = honest(name, **options)
    node, run = service.node, HELD[cheat].run

    def answer(request: Request, **_: Any) -> Answer:
        receipt = run(node, request)
        tokens = tuple(np.frombuffer(receipt.outputs[0][1], "<i4").tolist())
        vocabulary = prompter().card.vocabulary
        assert vocabulary is not None
        text = answer_text(vocabulary, request.generation, tokens, receipt.stop_reason)
        return Answer(request, receipt.encode(), {}, tokens, text, receipt.stop_reason, receipt.rows)

    node.answer = answer  # type: ignore[method-assign]
    return service


def proved(name: str, cheat: str | None = None) -> Service:
    """A node that makes public proofs, as its terms say."""
    identity = {**IDENTITIES, **MORE}[name]
    options = {"terms": terms(identity), "open": proving}
    return honest(name, **options) if cheat is None else cheating(name, cheat, **options)


@pytest.mark.parametrize(
    ("by", "cells", "level"),
    [
        ("replay", 16, "fully audited"),
        ("opening", 16, "sampled"),
        ("opening", "all", "fully audited"),
        ("public", 16, "sampled"),
        ("public", "all", "fully audited"),
    ],
)
@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_an_audit_raises_the_level(
    body: dict[str, Any], by: str, cells: Any, level: str, files: Path, synchronous: None
) -> None:
    north = proved("north") if by == "public" else honest("north")
    made = gateway({"north": north}, models=audited(files, by, cells=cells))
    (said,) = asked(made, body)
    assert said.status == 200
    (record,) = made.records.newest(1)
    assert record.level == level
    (choice,) = record.choices
    assert choice.audit is not None
    assert bool(choice.audit.cells) == (by != "replay")
    assert choice.audit.by == by
    trust = made.fleet.members["north"].trust
    assert trust.counts.audits == 1
    assert trust.mean > 0.5


@pytest.mark.parametrize("cheat", ["other weights", "skipped layer", "edited answer", "other sampler seed"])
@pytest.mark.parametrize("by", ["replay", "opening", "public"])
def test_a_cheating_node_is_quarantined_with_evidence(
    cheat: str, by: str, files: Path, synchronous: None
) -> None:
    public = by == "public"
    made = gateway(
        {
            "north": proved("north", cheat) if public else cheating("north", cheat),
            "south": proved("south") if public else honest("south"),
        },
        models=audited(files, by, cells="all"),
        first="north",
        disclose=True,
    )
    body = {**CHAT, "temperature": 1, "max_tokens": 12}
    said, after = asked(made, body, body)
    assert said.status == after.status == 200  # the receipt held, and the verdict came later
    later, first = made.records.newest(2)
    assert first.level == "contradicted"
    assert later.node == "south"
    north = made.fleet.members["north"]
    assert north.state == "quarantined"
    data = made.books.evidence(north.evidence)
    assert data is not None
    for by_whom in (model(), ByPublicProof(published().key)) if public else (model(),):
        judged = verify_evidence(Bundle.decode(data), by_whom, kernels=KERNELS)
        assert judged.finding is Finding.CONTRADICTED
    assert north.evidence == first.evidence


def test_a_node_that_promises_no_proofs_rests(files: Path, synchronous: None) -> None:
    made = gateway({"north": honest("north")}, models=audited(files, "public"))
    (said,) = asked(made, CHAT)
    assert said.status == 200
    north = made.fleet.members["north"]
    assert (north.state, north.quarantined) == ("resting", "")
    assert "public proofs" in north.why
    assert made.records.newest(1)[0].level == "receipted"
    assert north.trust.counts.audits == 0
    made.fleet.members["north"].proofs = frozenset()
    assert north.lacking(None) is None
    north.proofs = frozenset([bytes(32)])
    assert north.lacking(None) == "it states no terms"


def test_a_refusal_of_a_promised_proof_counts_as_one_of_an_opening(files: Path, synchronous: None) -> None:
    node = proved("north")
    node.open = lambda *_: (400, {}, b'{"error": {"message": "no", "code": "no"}}')
    made = gateway({"north": node}, models=audited(files, "public"))
    asked(made, CHAT)
    north = made.fleet.members["north"]
    assert north.state == "quarantined"
    assert made.records.newest(1)[0].level == "contradicted"


def test_quarantine_outlives_the_gateway(files: Path, tmp_path: Path, synchronous: None) -> None:
    nodes = {"north": cheating("north", "other weights"), "south": honest("south")}

    def start() -> Gateway:
        return gateway(nodes, models=audited(files, "replay"), first="north", books=Journal(tmp_path))

    first = start()
    asked(first, CHAT)
    evidence = first.fleet.members["north"].evidence
    again = start()
    north = again.fleet.members["north"]
    assert (north.state, north.evidence) == ("quarantined", evidence)
    assert again.books.evidence(evidence)
    (said,) = asked(again, CHAT)
    assert said.status == 200
    assert again.records.newest(1)[0].node == "south"
    (tmp_path / "quarantine" / f"{IDENTITIES['north'].public.hex()}.json").unlink()
    assert start().fleet.members["north"].state == "asked"


def test_evidence_is_handed_out_by_its_name_alone(files: Path, tmp_path: Path, synchronous: None) -> None:
    books = Journal(tmp_path)
    made = gateway(
        {"north": cheating("north", "other weights")}, models=audited(files, "replay"), books=books
    )

    async def look() -> None:
        async with standing(made) as ask:
            await ask(CHAT)
            name = made.fleet.members["north"].evidence
            found = await ask(None, f"/v1/evidence/{name}")
            assert found.status == 200
            assert "attachment" in found.headers["content-disposition"]
            Bundle.decode(found.body)
            for other in ("x", "..%2fquarantine", "0" * 64 + ".evidence", name.replace("evidence", "json")):
                assert (await ask(None, f"/v1/evidence/{other}")).status == 404

    asyncio.run(look())
    assert books.evidence("../quarantine/x") is None


def test_a_node_behind_with_its_audits_is_not_asked() -> None:
    made = gateway({"north": honest("north"), "south": honest("south")})
    made.auditing._waiting["north"] = MOST
    assert [m.name for m in made.fleet.order(NAME)] == ["south"]
    made.auditing._waiting["north"] -= 1
    assert len(made.fleet.order(NAME)) == 2


def test_an_opening_that_does_not_come_in_time_is_silence(files: Path, synchronous: None) -> None:
    """The gateway waits as long as the terms allow; then the node is quarantined."""
    north = honest("north", open=lambda *_: (429, {}, b'{"error": {"message": "I open nothing"}}'))
    made = gateway({"north": north}, models=audited(files, "opening"))
    asked(made, CHAT)
    assert made.records.newest(1)[0].level == "contradicted"
    assert "does not open" in made.fleet.members["north"].quarantined


def test_an_audit_that_cannot_be_made_accuses_nobody(files: Path, synchronous: None) -> None:
    north = honest("north", open=lambda *_: (401, {}, b"{}"))
    made = gateway({"north": north}, models=audited(files, "opening"))
    (said,) = asked(made, CHAT)
    assert said.status == 200
    assert made.records.newest(1)[0].level == "receipted"
    assert not made.fleet.members["north"].quarantined
    assert made.metrics.registry.get_sample_value(
        "proofcompute_gateway_audits_left_out_total", {"why": "fault"}
    )


def test_a_share_of_the_answers_is_audited(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import proofcompute.gateway.auditing as module

    class Draws:
        values = iter([0.5, 0.1, 0.9, 0.29])

        def random(self) -> float:
            return next(self.values)

    monkeypatch.setattr(module, "_RANDOM", Draws())
    made = gateway({"north": honest("north")}, models=audited(files, "replay", share=0.3))
    asked(made, *([CHAT] * 4))
    levels = [r.level for r in reversed(made.records.newest(4))]
    assert levels == ["receipted", "fully audited", "receipted", "fully audited"]


# -- trust and routing -------------------------------------------------------------------------------------
def test_trust_is_the_ledgers_estimate() -> None:
    trust = Trust()
    assert trust.mean == 0.5
    for _ in range(8):
        trust.passes(0.5)
    assert trust.mean == pytest.approx(1 - 1 / 6)
    trust.contradicts()
    assert trust.mean == pytest.approx(1 - 2 / 7)
    shown = trust.describe()
    assert (shown["audits"], shown["contradictions"]) == (9, 1)
    assert shown["low"] < shown["trust"] < shown["high"]
    assert shown["history"][0] == 0.5


def test_weights_follow_trust_price_seconds_and_work() -> None:
    made = gateway(
        {name: honest(name) for name in IDENTITIES},
        entries={"north": {"price": 3.0}, "south": {"price": 1.0}},
    )
    north, south, east = made.fleet.members.values()
    north.seconds, south.seconds = 0.1, 0.3
    east.live = 3
    north.trust.passes(1.0)
    mean = 4 / 3
    wanted = [
        (2 / 3) ** 4 / (0.1 * (1 + 3 / mean)),
        0.5**4 / (0.3 * (1 + 1 / mean)),
        0.5**4 / (0.2 * 4),  # nobody asked it: the median of the others' seconds
    ]
    assert made.fleet.weights([north, south, east]) == pytest.approx(wanted)


def test_nodes_are_drawn_with_their_weights() -> None:
    made = gateway({"north": honest("north"), "south": honest("south")})
    north, south = made.fleet.members.values()
    north.seconds, south.seconds = 0.1, 0.3
    rng = np.random.default_rng(1)
    made.fleet._draw = rng.random
    first = sum(made.fleet.order(NAME)[0] is north for _ in range(4000))
    assert 0.72 < first / 4000 < 0.78  # 3 of 4
    assert {m.name for m in made.fleet.order(NAME)} == {"north", "south"}
    assert made.fleet.order("other") == []


def test_a_node_rests_longer_after_each_failure() -> None:
    made = gateway({"north": honest("north")})
    (north,) = made.fleet.members.values()
    rests = []
    for _ in range(10):
        north.failed("it fails")
        import time

        rests.append(round(north.until - time.monotonic()))
    assert rests[:4] == [5, 10, 20, 40]
    assert rests[-1] == 300
    north.succeeded(0.1, 8, None)
    assert north.failures == 0


def test_what_a_journal_did_not_write_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).quarantine(bytes(32), Quarantine("why", ""))
    assert Journal(tmp_path).known([bytes(32)]) == {bytes(32): Known(Quarantine("why", ""), None)}
    (tmp_path / "quarantine" / "x.json").write_text("{}")
    with pytest.raises(InputError):
        Journal(tmp_path)


def test_events_reach_who_watches(files: Path, synchronous: None) -> None:
    made = gateway({"north": honest("north")}, models=audited(files, "replay"))

    async def watch() -> bytes:
        async with standing(made) as ask:
            events = made.watchers.watch()
            seen = [await anext(events)]
            await ask(CHAT)
            await settled(made)
            made.watchers.end()
            seen += [event async for event in events]
            return b"".join(seen)

    seen = asyncio.run(watch())
    for kind in (b"event: answer", b"event: node", b"event: verdict"):
        assert kind in seen
    assert b"fully audited" in seen
    assert b"Hello" not in seen  # neither prompt nor answer
