"""The command ``audit`` against nodes that are silent, late, busy, two-faced or false."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import proofcompute as pc
from client.doors import Answering, Broken, Call, Door, Silence, at_door
from client.standin import KERNELS, NODE, Service, model
from proofcompute.cli import main
from proofcompute.cli.audit_command import FAILED, UNCHECKED, UNFINISHED
from proofcompute.errors import StorageError
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Receipt, Terms
from proofcompute.prover.node import Node

TERMS = Terms.of(NODE, base=1, rate=1000, retention=3600)
"""Terms by which a node is late after a little more than a second."""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an auditor of the stand-in holds."""
    folder = tmp_path_factory.mktemp("held")
    model().save(folder / "model")
    (folder / "card").write_bytes(model().card.encode())
    pc.write_key(model(), KERNELS, folder / "key")
    pc.NodeIdentity.new().save(folder / "identity")
    return folder


MODES: dict[str, tuple[object, ...]] = {
    "cells": ("--key", "key", "--cells", 2),
    "all": ("--key", "key", "--all"),
    "replay": ("--model", "model", "--replay"),
    "card": ("--card", "card"),
}


@dataclass(frozen=True)
class Outcome:
    status: int
    fields: dict[str, Any]
    said: str

    @property
    def states(self) -> dict[str, int]:
        return {state: n for state, n in self.fields["states"].items() if n}


class Audit:
    """Runs the command with the files of an auditor."""

    def __init__(self, held: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.held, self.capsys = held, capsys

    def __call__(self, door: Door, mode: str, *words: object, count: int = 2) -> Outcome:
        holds = [str(self.held / w) if w in ("key", "model", "card") else str(w) for w in MODES[mode]]
        given = ["audit", door.url, *holds, "--count", str(count), *map(str, words)]
        status = main([*given, "--max-tokens", "4", "--json"])
        out, err = self.capsys.readouterr()
        return Outcome(status, json.loads(out.splitlines()[-1]), err)


@pytest.fixture
def audit(held: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    return Audit(held, capsys)


def asked_only(change: Callable[[Any], Any]) -> Answering:
    """What is done with questions; all else is honest."""
    return lambda call, honest: change(honest) if call.asks else honest()


def opened_only(change: Callable[[Callable[[], Any]], Any]) -> Answering:
    """What is done with challenges; all else is honest."""
    return lambda call, honest: change(honest) if call.opens else honest()


@pytest.mark.parametrize("mode", MODES)
def test_an_honest_node_passes(mode: str, audit: Audit) -> None:
    with at_door() as door:
        found = audit(door, mode)
    state = "receipted" if mode == "card" else "verified"
    assert (found.status, found.states, found.fields["verified"]) == (0, {state: 2}, True)
    assert found.fields["checked"] == 2


# -- questions that are not answered -------------------------------------------------------------------------
BUSY = (429, {"retry-after": "0.05"}, b'{"error": {"message": "busy"}}')
UNANSWERED: dict[str, Answering] = {
    "silent": asked_only(lambda honest: Silence()),
    "busy for ever": asked_only(lambda honest: BUSY),
    "unavailable for ever": asked_only(lambda honest: (503, {"retry-after-ms": "1"}, b"draining")),
    "refusing": asked_only(lambda honest: (403, {}, b"who are you")),
    "late": asked_only(lambda honest: Silence(honest(), 2.0)),
    "breaking off": asked_only(lambda honest: Broken(honest())),
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_a_node_that_answers_no_canary_does_not_pass(name: str, audit: Audit) -> None:
    with at_door(answering=UNANSWERED[name]) as door:
        found = audit(door, "cells", "--patience", 0.3, count=1)
    assert (found.status, found.states, found.fields["verified"]) == (UNCHECKED, {"unanswered": 1}, None)
    assert "0 of the 1 canaries" in found.said
    assert door.challenged() == []


@pytest.mark.parametrize("mode", MODES)
def test_how_many_canaries_must_be_checked(mode: str, audit: Audit) -> None:
    """By default all: a node that refuses what it takes for a canary must not look audited."""

    def some(call: Call, honest: Callable[[], Any]) -> Any:
        return (403, {}, b"no") if call.asks and len(door.asked()) == 2 else honest()

    with at_door(answering=some) as door:
        found = audit(door, mode, count=3)
        assert (found.status, found.fields["checked"], found.fields["min_checked"]) == (UNCHECKED, 2, 3)
    with at_door(answering=some) as door:
        found = audit(door, mode, "--min-checked", 2, count=3)
        assert (found.status, found.fields["checked"], found.fields["sent"]) == (0, 2, 3)


def test_only_what_a_client_would_ask_again_is_asked_again(audit: Audit) -> None:
    with at_door(answering=UNANSWERED["busy for ever"]) as door:
        audit(door, "card", count=1)
        counts = [c.headers["x-stainless-retry-count"] for c in door.asked()]
    assert counts == ["0", "1", "2"]
    with at_door(answering=UNANSWERED["refusing"]) as door:
        audit(door, "card", count=1)
        assert len(door.asked()) == 1


# -- openings that do not come -------------------------------------------------------------------------------
UNOPENED: dict[str, tuple[Answering, str]] = {
    "silent": (opened_only(lambda honest: Silence()), "silent"),
    "late": (opened_only(lambda honest: Silence(honest(), 2.0)), "silent"),
    "busy for ever": (opened_only(lambda honest: BUSY), "refused"),
    "unavailable for ever": (opened_only(lambda honest: (503, {}, b"draining")), "silent"),
    "refusing": (
        opened_only(lambda honest: (400, {}, b'{"error": {"message": "what receipt?"}}')),
        "refused",
    ),
    "breaking off": (opened_only(lambda honest: Broken(honest())), "silent"),
}


@pytest.mark.parametrize("mode", ["cells", "all"])
@pytest.mark.parametrize("name", UNOPENED)
def test_an_opening_that_does_not_come_is_a_failure_on_record(
    name: str, mode: str, audit: Audit, tmp_path: Path
) -> None:
    answering, state = UNOPENED[name]
    words = ("--evidence", tmp_path / "shown", "--identity", audit.held / "identity")
    with at_door(Service(terms=TERMS), answering) as door:
        found = audit(door, mode, "--record", tmp_path / "record", *words, count=1)
    assert (found.status, found.states, found.fields["verified"]) == (FAILED, {state: 1}, False)
    last = json.loads((tmp_path / "record").read_text().splitlines()[-1])
    assert (last["event"], last["state"]) == ("verdict", state)
    assert judged(tmp_path / "shown", audit.held / "key") == ["asserted"]
    assert judged(tmp_path / "shown", audit.held / "model") == ["asserted"]


def judged(folder: Path, holds: Path) -> list[str]:
    """What others say of the bundles in a directory."""
    from proofcompute.protocol.bundle import open_bundle

    found = []
    for path in sorted(folder.iterdir()):
        with open_bundle(path) as bundle:
            made = pc.Model.load(holds) if holds.name == "model" else pc.Key.load(holds)
            found.append(pc.verify_evidence(bundle, made, kernels=KERNELS).finding.value)
    return found


def test_a_replay_does_not_notice_that_a_node_opens_nothing(audit: Audit) -> None:
    with at_door(answering=UNOPENED["silent"][0]) as door:
        found = audit(door, "replay")
    assert (found.status, found.states) == (0, {"verified": 2})


@pytest.mark.parametrize("name", ["silent", "busy for ever"])
def test_who_gives_up_before_the_terms_do_has_found_nothing(name: str, audit: Audit, tmp_path: Path) -> None:
    """A node whose terms allow a day passes no audit that waits for less, and is not accused either."""
    slow = Terms.of(NODE, base=3600, rate=1000, retention=3600)
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity", "--patience", 0.4)
    with at_door(Service(terms=slow), UNOPENED[name][0]) as door:
        found = audit(door, "cells", *words, count=1)
    assert (found.status, found.states) == (UNCHECKED, {"unopened": 1})
    assert list(tmp_path.iterdir()) == []


def test_openings_of_the_newest_answers_only_are_not_enough(audit: Audit) -> None:
    """All canaries are answered before the first challenge, so a node must compute again."""
    newest: list[bytes] = []

    def forgetful(node: Node, call: OpenCall) -> Any:
        known = [Receipt.decode(r).digest for r in newest[-1:]]
        return (
            node.open(*call)
            if call.challenge.receipt_digest in known
            else (400, {}, b'{"error": {"message": "too old"}}')
        )

    service = Service(open=forgetful)
    honest = service.node.answer

    def answer(request: Any) -> Any:
        made = honest(request)
        newest.append(made.receipt)
        return made

    service.node.answer = answer  # type: ignore[assignment, method-assign]
    with at_door(service) as door:
        found = audit(door, "cells", count=3)
    assert (found.status, found.states) == (FAILED, {"refused": 2, "verified": 1})


# -- false answers and false openings ------------------------------------------------------------------------
def signed(receipt: Receipt, **changes: Any) -> bytes:
    made = replace(receipt, signature=b"", **changes)
    return made.signed(NODE.sign(made.signed_digest)).encode()


def false_trace(answer: Any) -> Any:
    """What a node can sign: the right form over a wrong trace."""
    return replace(answer, receipt=signed(Receipt.decode(answer.receipt), trace_root=bytes(32)))


def lying(change: Callable[[Any], Any], when: Callable[[Any], bool] = lambda request: True) -> Service:
    """A node that changes its answers to some requests, and opens them as well as it can."""
    service = Service()
    honest = service.node.answer

    def answer(request: Any) -> Any:
        made = honest(request)
        return change(made) if when(request) else made

    service.node.answer = answer  # type: ignore[assignment, method-assign]
    return service


@pytest.mark.parametrize("mode", ["cells", "all", "replay"])
def test_a_false_trace_is_contradicted_or_not_opened(mode: str, audit: Audit, tmp_path: Path) -> None:
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity")
    service = lying(false_trace)
    with at_door(service, opened_only(lambda honest: (400, {}, b'{"error": {"message": "no"}}'))) as door:
        found = audit(door, mode, *words, count=1)
    assert found.status == FAILED
    assert found.states == {"contradicted" if mode == "replay" else "refused": 1}
    assert judged(tmp_path, audit.held / "model") == ["contradicted"]


def _to_another_challenge(node: Node, call: OpenCall) -> bytes:
    return node.open(call.request, call.receipt, replace(call.challenge, cells=call.challenge.cells[:1]))


FALSE: dict[str, Callable[[Node, OpenCall], Any]] = {
    "to another challenge": _to_another_challenge,
    "empty": lambda node, call: b"",
    "without its end": lambda node, call: node.open(*call)[:-100],
    "changed": lambda node, call: flipped(node.open(*call)),
}


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("mode", ["cells", "all"])
@pytest.mark.parametrize("name", FALSE)
def test_a_false_opening_is_a_failure_of_which_others_believe_what_is_shown(
    name: str, mode: str, audit: Audit, tmp_path: Path
) -> None:
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity")
    with at_door(Service(open=FALSE[name])) as door:
        found = audit(door, mode, *words, count=1)
    assert (found.status, found.states) == (FAILED, {"contradicted": 1})
    # nobody signed these openings, and an auditor that says so is not refuted
    assert set(judged(tmp_path, audit.held / "model")) <= {"unattributable", "asserted"}


def test_a_false_answer_is_found_by_who_has_the_model_though_nobody_signed_the_opening(
    audit: Audit, tmp_path: Path
) -> None:
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity")
    service = lying(false_trace)
    service.open = lambda node, call: b"junk"
    with at_door(service) as door:
        found = audit(door, "cells", *words, count=1)
    assert (found.status, found.states) == (FAILED, {"contradicted": 1})
    assert judged(tmp_path, audit.held / "key") == ["unattributable"]
    assert judged(tmp_path, audit.held / "model") == ["contradicted"]


# -- responses that contradict themselves --------------------------------------------------------------------
def other_text(sent: Any) -> Any:
    for choice in sent.get("choices", []):
        for part in ("message", "delta"):
            if choice.get(part, {}).get("content"):
                choice[part]["content"] = "Send the money to me."
    return sent


def other_receipt(**changes: Any) -> Callable[[Any], Any]:
    return lambda answer: replace(answer, receipt=signed(Receipt.decode(answer.receipt), **changes))


RESPONSES: dict[str, tuple[Callable[[], Service], list[str]]] = {
    "another text": (lambda: Service(change=other_text), []),
    "another stop reason": (lambda: lying(other_receipt(stop_reason="end")), ["contradicted"]),
    "no receipt": (lambda: Service(change=lambda sent: {**sent, "proofcompute": None}), []),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_that_contradicts_itself_is_kept_and_shown_where_it_was_signed(
    name: str, audit: Audit, tmp_path: Path
) -> None:
    made, findings = RESPONSES[name]
    words = ("--evidence", tmp_path / "shown", "--identity", audit.held / "identity")
    with at_door(made()) as door:
        found = audit(door, "cells", "--record", tmp_path / "record", *words, count=1)
    assert (found.status, found.states) == (FAILED, {"contradicted": 1})
    assert judged(tmp_path / "shown", audit.held / "key") == findings
    assert ("no evidence was written" in found.said) == (findings == [])
    last = json.loads((tmp_path / "record").read_text().splitlines()[-1])["found"]
    (asked,) = door.asked()
    assert base64.b64decode(last["question"]) == asked.body
    assert base64.b64decode(last["response"]) != b""
    assert len(last["receipts"]) == (0 if name == "no receipt" else 1)
    assert last["nonce"] == asked.headers.get("proofcompute-nonce")


@pytest.mark.parametrize("mode", ["cells", "card"])
def test_a_promise_below_the_terms_is_contradicted_before_others(
    mode: str, audit: Audit, tmp_path: Path
) -> None:
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity")
    with at_door(lying(other_receipt(retention=1))) as door:
        found = audit(door, mode, *words, count=1)
    assert (found.status, found.states) == (FAILED, {"contradicted": 1})
    assert judged(tmp_path, audit.held / "key") == ["contradicted"]


@pytest.mark.parametrize(
    "broken", ["proofcompute.client.contradictions.evidence_of", "proofcompute.protocol.bundle.Bundle.save"]
)
def test_a_verdict_stands_where_no_evidence_can_be_written(
    broken: str, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(broken, full)
    words = ("--evidence", tmp_path, "--identity", audit.held / "identity", "--record", tmp_path / "record")
    with at_door(answering=UNOPENED["refusing"][0]) as door:
        found = audit(door, "cells", *words, count=1)
    assert (found.status, found.states) == (FAILED, {"refused": 1})
    assert "no evidence was written: the disk is full" in found.said
    assert "the disk is full" in (tmp_path / "record").read_text()


@pytest.mark.parametrize(
    ("words", "status"),
    [(("--budget", "60tokens"), UNFINISHED), (("--budget", "60tokens", "--min-checked", 1), 0)],
)
def test_a_budget_that_ends_is_told_apart_from_a_node_that_does_not_answer(
    words: tuple[object, ...], status: int, audit: Audit, tmp_path: Path
) -> None:
    bodies = [{"prompt": f"{i}", "max_tokens": 4} for i in range(30)]
    (tmp_path / "requests").write_text("\n\n".join(map(json.dumps, bodies)))
    with at_door() as door:
        found = audit(door, "cells", *words, "--requests", tmp_path / "requests", count=20)
    assert (found.status, found.states["verified"]) == (status, found.fields["sent"])
    assert found.fields["tokens"] <= 60
    assert "60 tokens" in found.fields["stopped"]


# -- two faces -----------------------------------------------------------------------------------------------
def two_faced(told: Callable[[dict[str, str]], bool]) -> tuple[Service, Answering]:
    """Honest to some clients, by the headers of their questions."""
    false = [False]
    service = lying(false_trace, lambda request: false[0])

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        false[0] = call.asks and not told(call.headers)
        if call.opens:
            opened = Receipt.decode(OpenCall.decode(call.body).receipt)
            return (400, {}, b'{"error": {"message": "no"}}') if opened.trace_root == bytes(32) else honest()
        return honest()

    return service, answering


def test_a_node_that_is_honest_to_clients_with_a_nonce_is_found(audit: Audit) -> None:
    service, answering = two_faced(lambda headers: "proofcompute-nonce" in headers)
    with at_door(service, answering) as door:
        found = audit(door, "cells", count=8)
    without = sum("proofcompute-nonce" not in c.headers for c in door.asked())
    assert found.fields["states"]["refused"] == without
    assert found.status == (FAILED if without else 0)
    assert found.fields["nonces"]["client"] == 8 - without


@pytest.mark.parametrize(("told", "status"), [("Bearer auditor", 0), ("Bearer alice", FAILED)])
def test_a_node_that_knows_its_auditors_key_shows_it_another_face(
    told: str, status: int, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing here stops that, so audit with the credentials of a client (docs/guides/auditor.md)."""
    monkeypatch.setenv("PROOFCOMPUTE_API_KEY", "auditor")
    service, answering = two_faced(lambda headers: headers["authorization"] == told)
    with at_door(service, answering) as door:
        assert audit(door, "cells").status == status


def test_a_node_that_is_honest_after_the_first_challenge_is_found_in_every_answer(audit: Audit) -> None:
    """An audit that challenged each answer at once would find it in the first one only."""
    false = [True]
    service = lying(false_trace, lambda request: false[0])

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        if call.opens:
            false[0] = False
            return 400, {}, b'{"error": {"message": "no"}}'
        return honest()

    with at_door(service, answering) as door:
        found = audit(door, "cells", count=3)
        order = ["opens" if c.opens else "asks" for c in door.calls if c.opens or c.asks]
    assert found.states == {"refused": 3}
    assert order == ["asks"] * 3 + ["opens"] * 3


def test_terms_are_asked_for_after_the_last_answer(audit: Audit) -> None:
    """Most clients never ask for them, so a node would know whom to answer honestly."""
    with at_door() as door:
        audit(door, "cells")
        paths = [c.path for c in door.calls]
    assert paths.index("/v1/proofs/terms") > max(i for i, c in enumerate(door.calls) if c.asks)


def test_terms_may_change_in_the_middle(audit: Audit) -> None:
    service = Service()
    faster = Terms.of(NODE, base=20, rate=2000, retention=3600)

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        if call.asks and len(door.asked()) == 2:
            service.terms = faster
            service.node = Node(model(), NODE, device=KERNELS, terms=faster)
        return honest()

    with at_door(service, answering) as door:
        found = audit(door, "cells", count=3)
    assert (found.status, found.states, found.fields["unpublished"]) == (0, {"verified": 3}, 1)


def test_a_receipt_that_names_no_terms_though_there_are_some_is_contradicted(audit: Audit) -> None:
    """It would have no deadline but the auditor's own."""
    service = Service()
    service.node = Node(model(), NODE, device=KERNELS, terms=None)
    with at_door(service) as door:
        found = audit(door, "cells")
    assert (found.status, found.states) == (FAILED, {"contradicted": 2})


def test_answers_by_several_keys_are_told(audit: Audit) -> None:
    """A node that signs each answer with another key has nothing to lose."""
    service = Service(terms=None)
    keys = iter(range(100))

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        if call.asks:
            identity = pc.NodeIdentity(bytes([next(keys)] * 32))
            service.identity = identity
            nodes.append(Node(model(), identity, device=KERNELS, terms=None))
            service.node = nodes[-1]
        elif call.opens:
            signer = Receipt.decode(OpenCall.decode(call.body).receipt).node
            service.node = next(n for n in nodes if n.public == signer)
        return honest()

    nodes: list[Node] = []
    with at_door(service, answering) as door:
        found = audit(door, "cells", count=2)
    assert (found.status, sorted(found.fields["nodes"].values())) == (0, [1, 1])
