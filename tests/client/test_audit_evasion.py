"""Nodes that cheat their clients and want to pass an audit, with all that an audit shows them.

Each sorts what comes in: what it takes for an audit gets honest answers, and everything else a receipt over a
false trace, whose opening it refuses. The table says what becomes of it. Two kinds pass, and are named in
docs/attacks.md: a node that knows the auditor's address or key, and one that recognises written prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from client.campaigns import Auditing, Run
from client.standin import NODE, Service
from client.test_audit_hostile import false_trace, lying
from proofcompute.client import prompts
from proofcompute.client.tally import Cheat
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Receipt, Terms
from proofcompute.prover.node import Node

RECORDED = [
    {"prompt": f"Ticket {i}: the parcel did not come, what now?", "max_tokens": 4, "temperature": 0.7}
    for i in range(40)
]


@dataclass
class Evader:
    """A node that decides for each question whether an audit asks it."""

    suspects: Callable[[Evader, dict[str, str], dict[str, Any]], bool]
    """Whether a question, by its headers and body, looks like an audit's."""
    terms: Terms | None = None
    refuses: bool = False
    """Whether it refuses what it suspects, instead of answering honestly."""
    challenged: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.false = False
        self.service = lying(false_trace, lambda request: self.false)
        self.service.open = self._open
        if self.terms is not None:
            self.service.terms = self.terms
            made = Node(self.service.node.model, NODE, device=self.service.node.kernels, terms=self.terms)
            honest = made.answer

            def answer(request: Any) -> Any:
                return false_trace(honest(request)) if self.false else honest(request)

            made.answer = answer  # type: ignore[assignment, method-assign]
            self.service.node = made
        respond = self.service.respond

        def sorted_first(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
            if method == "POST" and not path.endswith("/open"):
                self.asked += 1
                suspected = self.suspects(self, headers, json.loads(body))
                self.false = not suspected
                if suspected and self.refuses:
                    self.service.asked.append((method, path, headers, body))
                    return 503, {"retry-after-ms": "1"}, b"busy"
            return respond(method, path, headers, body)

        self.service.respond = sorted_first  # type: ignore[method-assign]

    def _open(self, node: Node, call: OpenCall) -> Any:
        self.challenged += 1
        if Receipt.decode(call.receipt).trace_root == bytes(32):
            return 400, {}, b'{"error": {"message": "no"}}'
        return node.open(*call)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.service.asked]


def of_the_grammar(text: str) -> bool:
    """Whether a prompt is one that proofcompute writes: every form, with anything in its places."""
    forms = "|".join(re.sub(r"\\\{\w\\\}", ".+", re.escape(t)) for t in (*prompts.TASKS, *prompts.FOLLOWING))
    return re.match(f"({forms})(\n|$)", text) is not None


def texts(body: dict[str, Any]) -> list[str]:
    if "prompt" in body:
        return [body["prompt"]]
    return [m["content"] for m in body["messages"] if m["role"] == "user"]


def audited(evader: Evader, **options: Any) -> Run:
    options = {"traffic": {"bodies": RECORDED}, "count": 4, **options}
    return Auditing(service=evader.service, **options).run()


SHORT = Terms.of(NODE, base=30, rate=1000, retention=0)
USUAL = (4, 8, 16, 32, 50, 64, 100, 128)
CAUGHT: dict[str, tuple[Callable[..., bool], dict[str, Any]]] = {
    "who fetched its terms": (lambda e, headers, body: "/v1/proofs/terms" in e.paths, {}),
    "who has challenged it": (lambda e, headers, body: e.challenged > 0, {}),
    "who sends a nonce": (lambda e, headers, body: "proofcompute-nonce" in headers, {"count": 8}),
    "who asks with a limit that nobody writes": (
        lambda e, headers, body: body["max_tokens"] not in USUAL,
        {"max_tokens": 70, "traffic": {"chat": False}},
    ),
    "what it was asked before": (lambda e, headers, body: _seen_before(e, body), {}),
    "prompts of the program, but the canaries are recorded": (
        lambda e, headers, body: all(map(of_the_grammar, texts(body))),
        {},
    ),
    "everybody but the first client": (lambda e, headers, body: e.asked > 1, {}),
}
"""Whom a node spares, and how it is audited."""


def _seen_before(evader: Evader, body: dict[str, Any]) -> bool:
    sent = [b for _, path, _, b in evader.service.asked if path.endswith("completions")]
    return body in [json.loads(b) for b in sent]


@pytest.mark.parametrize("name", CAUGHT)
def test_a_node_that_spares_what_looks_like_an_audit_is_caught(name: str) -> None:
    suspects, options = CAUGHT[name]
    found = audited(Evader(suspects), **options)
    by = [s.asked.nonce_by for s in found.tally.sent.values()]
    if name == "who sends a nonce":
        assert found.states.get("refused", 0) == by.count("node")
    elif name == "everybody but the first client":
        assert found.states == {"refused": 1, "verified": 3}
    else:
        assert found.states == {"refused": 4}


def test_a_node_that_is_warned_early_is_caught_by_what_came_before() -> None:
    """It promises no time for challenges, so that the first one comes before the second canary."""
    evader = Evader(lambda e, headers, body: e.challenged > 0, terms=SHORT)
    found = audited(evader, traffic={"bodies": RECORDED, "interval": 1e4, "draw": Random(1)})
    assert found.states == {"refused": 1, "verified": 3}
    assert found.tally.warned == 3


def test_a_node_that_was_honest_until_it_was_warned_has_shown_no_more_than_that() -> None:
    evader = Evader(lambda e, headers, body: True, terms=SHORT)
    found = audited(evader, traffic={"bodies": RECORDED, "interval": 1e4, "draw": Random(1)})
    assert (found.states, found.tally.warned) == ({"verified": 4}, 3)
    assert found.tally.detects(Cheat(0.1, "all")) == pytest.approx(0.1)


def test_a_node_that_refuses_what_it_suspects_does_not_look_audited() -> None:
    evader = Evader(lambda e, headers, body: e.asked % 2 == 0, refuses=True)
    evader.suspects = lambda e, headers, body: "proofcompute-nonce" in headers
    found = audited(evader, count=6)
    by = [s.asked.nonce_by for s in found.tally.sent.values()]
    assert found.states.get("unanswered", 0) == by.count("client")
    assert found.tally.checked(cells=True) + found.tally.failed < 6 or by.count("client") == 0


def test_written_prompts_are_recognised_by_who_has_this_program() -> None:
    """So the command says so, and recorded requests make better canaries."""
    evader = Evader(lambda e, headers, body: all(map(of_the_grammar, texts(body))))
    found = audited(evader, traffic={"nonce_by": "node"}, max_tokens=8)
    assert found.states == {"verified": 4}
    assert found.tally.failed == 0


@pytest.mark.parametrize("known", ["address", "key"])
def test_a_node_that_knows_its_auditor_passes(known: str) -> None:
    """Nothing here hides an address or a key: audit from a client's (docs/guides/auditor.md)."""
    key = "Bearer auditor" if known == "key" else None
    evader = Evader(lambda e, headers, body: key is None or headers["authorization"] == key)
    traffic = {"bodies": RECORDED, "key": "auditor"}
    assert audited(evader, traffic=traffic).states == {"verified": 4}
    if known == "key":
        evader = Evader(lambda e, headers, body: headers["authorization"] == key)
        assert audited(evader, traffic={**traffic, "key": "alice"}).states == {"refused": 4}


def test_an_honest_stand_in_is_not_caught() -> None:
    assert Auditing(service=Service(), count=2, traffic={"bodies": RECORDED}).run().states == {"verified": 2}
