"""What a campaign does with canaries: in which order, within which budget, and after an interruption."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

import proofcompute as pc
from client.campaigns import BEGUN, Auditing, Clock, audited
from client.doors import Call, at_door
from client.lies import redirecting
from client.standin import KERNELS, NODE, OTHER, Service, model
from proofcompute.cli import main
from proofcompute.client.budget import Budget, Meter
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.detection import share_ruled_out
from proofcompute.client.entries import Answer, Asked, Challenged, Verdict
from proofcompute.client.line import Line
from proofcompute.client.record import Record
from proofcompute.client.tally import Tally
from proofcompute.errors import InputError, StoppedError
from proofcompute.protocol.messages import Terms
from proofcompute.prover.node import Node

SHORT = {"bodies": [{"prompt": f"{i}", "max_tokens": 4} for i in range(60)]}
"""Requests of few tokens, each of them once."""


def posts(service: Service) -> list[str]:
    return [
        "opens" if path.endswith("open") else "asks"
        for method, path, _, _ in service.asked
        if method == "POST"
    ]


# -- order ---------------------------------------------------------------------------------------------------
def test_all_canaries_are_answered_before_the_first_challenge() -> None:
    service = Service()
    found = audited(service=service, count=3)
    assert found.states == {"verified": 3}
    assert posts(service) == ["asks"] * 3 + ["opens"] * 3
    assert found.tally.warned == 0


def test_a_receipt_that_promises_little_time_is_challenged_in_it() -> None:
    """What is answered after that counts for nothing: a node could promise little in order to be warned."""
    service = Service(terms=Terms.of(NODE, base=30, rate=1000, retention=9000))
    found = audited(service=service, count=4, traffic={"interval": 1e4, "draw": Random(1)})
    assert found.states == {"verified": 4}
    assert 0 < found.tally.warned < 4
    assert found.tally.ruled_out == share_ruled_out(4 - found.tally.warned, 0.95)
    assert posts(service) != ["asks"] * 4 + ["opens"] * 4


def test_a_node_that_was_challenged_before_is_warned(tmp_path: Path) -> None:
    audited(service=Service(terms=None), count=2, record=tmp_path / "record")
    found = audited(service=Service(terms=None), count=3, record=tmp_path / "record")
    assert (found.states, found.tally.warned) == ({"verified": 3}, 1)


def test_a_replay_and_a_card_do_nothing_between_questions() -> None:
    for holds, options in (("model", {"replay": True}), ("card", {})):
        service = Service(terms=Terms.of(NODE, base=30, rate=1000, retention=0))
        found = audited(service=service, holds=holds, traffic={"interval": 1e4, "draw": Random(1)}, **options)
        kinds = [type(e).__name__ for e in found.entries]
        assert kinds.index("Verdict") > len(kinds) - 3  # nothing is between the questions but their answers
        assert (found.tally.warned, posts(service)) == (0, ["asks"] * 2)


# -- choices -------------------------------------------------------------------------------------------------
def test_each_choice_is_an_answer_and_a_canary_is_one() -> None:
    body = {"prompt": "Once", "max_tokens": 4, "n": 3, "temperature": 1}
    found = audited(count=1, traffic={"bodies": [body]})
    assert (found.states, len(found.tally.verdicts)) == ({"verified": 1}, 3)
    assert {v.choice for v, _ in found.told} == {0, 1, 2}


# -- budgets -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tokens", [5, 11, 12, 13, 25, 40])
def test_tokens_are_never_more_than_the_budget(tokens: int) -> None:
    service = Service()
    found = audited(service=service, count=9, budget=Budget(tokens=tokens), traffic=SHORT, holds="card")
    assert found.tally.tokens <= tokens
    asked = sum(
        len(json.loads(body)["prompt"]) + 1 + 4 for _, path, _, body in service.asked if "compl" in path
    )
    assert asked <= tokens + 4 * len(found.tally.sent)
    assert "tokens is used up" in found.campaign.stopped
    assert len(found.tally.sent) < 9


def test_a_budget_that_suffices_to_the_token_stops_nothing() -> None:
    spent = audited(count=3, traffic=SHORT, holds="card")
    entries = [e for e in spent.entries if isinstance(e, Asked)]
    most = sum(e.prompt + e.most for e in entries)
    assert audited(count=3, traffic=SHORT, holds="card", budget=Budget(tokens=most)).campaign.stopped == ""


def _lost(inner: Any) -> Any:
    """Every question is lost after it was sent."""

    class Lossy:
        def handle_request(self, request: Any) -> Any:
            response = inner.handle_request(request)
            if request.method == "POST":
                raise httpx2.ReadError("the connection was lost")
            return response

        def close(self) -> None:
            inner.close()

    return Lossy()


def test_attempts_that_are_lost_count_and_hold_the_budget_too() -> None:
    service = Service()
    found = audited(service=service, count=2, traffic=SHORT, wrap=_lost)
    (one, two) = [e for e in found.entries if isinstance(e, Asked)]
    assert found.states == {"unanswered": 2}
    assert found.tally.tokens == 3 * (one.prompt + one.most) + 3 * (two.prompt + two.most)
    service = Service()
    limit = one.prompt + one.most + two.prompt + two.most
    found = audited(service=service, count=9, traffic=SHORT, wrap=_lost, budget=Budget(tokens=limit))
    assert found.tally.tokens <= limit
    assert len(posts(service)) == 2


def test_a_refusal_costs_nothing() -> None:
    found = audited(service=Service(status=403), count=4, budget=Budget(tokens=40), traffic=SHORT)
    assert (found.states, found.tally.tokens, found.campaign.stopped) == ({"unanswered": 4}, 0, "")


@pytest.mark.parametrize("nbytes", [1, 500, 2000, 4000, 9000, 20_000])
def test_bytes_are_never_more_than_the_budget(nbytes: int) -> None:
    found = audited(count=3, budget=Budget(nbytes=nbytes), cells=16)
    assert found.meter.nbytes <= nbytes
    assert "bytes is used up" in found.campaign.stopped
    assert sum(found.states.values()) < 3 or "unanswered" in found.states


def test_an_answer_whose_opening_the_budget_cut_off_stays_open(tmp_path: Path) -> None:
    """The node did nothing wrong, and the answer is challenged again by whoever continues."""
    sizes = audited(count=1, record=tmp_path / "first")
    budget = Budget(nbytes=sizes.meter.nbytes - 1)
    found = audited(count=1, record=tmp_path / "second", budget=budget, traffic=SHORT, cells="all")
    assert (found.tally.open, found.states) == (1, {})
    again = audited(count=1, record=tmp_path / "second")
    assert again.states == {"verified": 1}


def test_nothing_is_begun_when_the_time_is_over() -> None:
    clock = Clock()
    found = audited(
        count=9, traffic={"interval": 30.0, "draw": Random(1)}, budget=Budget(seconds=100), clock=clock
    )
    assert "100 seconds" in found.campaign.stopped
    assert clock.now <= clock.start + 100
    assert found.states == {"verified": len(found.tally.sent)}  # the rest of the time is for challenges


def test_no_challenge_is_made_when_the_time_is_over() -> None:
    clock, service = Clock(), Service()

    def slow(inner: Any) -> Any:
        class Slow:
            def handle_request(self, request: Any) -> Any:
                clock.now += 60
                return inner.handle_request(request)

            def close(self) -> None:
                inner.close()

        return Slow()

    found = audited(service=service, count=2, budget=Budget(seconds=100), clock=clock, wrap=slow)
    assert (found.tally.open, found.states, posts(service)) == (2, {}, ["asks"] * 2)
    assert "100 seconds" in found.campaign.stopped


def test_what_was_answered_is_audited_when_the_tokens_are_spent() -> None:
    found = audited(count=9, budget=Budget(tokens=25), traffic=SHORT)
    assert "25 tokens" in found.campaign.stopped
    assert found.states == {"verified": len(found.tally.sent)}


# -- interruptions -------------------------------------------------------------------------------------------
def _interrupted(at: int, stage: str) -> Callable[[Any], Any]:
    """The auditor presses Ctrl-C while the ``at``-th question, or challenge, is answered."""
    count = 0

    def wrap(inner: Any) -> Any:
        class Interrupted:
            def handle_request(self, request: Any) -> Any:
                nonlocal count
                opens = request.url.path.endswith("/open")
                if request.method == "POST" and opens == (stage == "challenge"):
                    count += 1
                    if count == at:
                        raise KeyboardInterrupt
                return inner.handle_request(request)

            def close(self) -> None:
                inner.close()

        return Interrupted()

    return wrap


@pytest.mark.parametrize(
    ("at", "stage", "unanswered"), [(1, "question", 1), (3, "question", 1), (2, "challenge", 0)]
)
def test_what_was_done_is_neither_lost_nor_done_again(
    at: int, stage: str, unanswered: int, tmp_path: Path
) -> None:
    service, record = Service(), tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(service=service, count=4, record=record, wrap=_interrupted(at, stage), traffic=SHORT)
    found = audited(service=service, count=4, record=record, traffic=SHORT)
    assert found.states == {"verified": 4 - unanswered} | ({"unanswered": 1} if unanswered else {})
    asked = [body for _, path, _, body in service.asked if path.endswith("completions")]
    assert len(set(asked)) == len(asked) == 4 - unanswered
    # nothing is left to do
    before = len(service.asked)
    again = audited(service=service, count=4, record=record, traffic=SHORT)
    assert again.states == found.states
    assert len(service.asked) == before


@pytest.mark.parametrize("how", ["budget", "interrupt"])
def test_an_interrupted_challenge_is_sent_again_and_no_other(how: str, tmp_path: Path) -> None:
    """A node opens few different challenges of an answer, and would be accused for refusing the others."""
    known: dict[bytes, set[bytes]] = {}

    def twice(node: Node, call: Any) -> Any:
        seen = known.setdefault(call.challenge.receipt_digest, set())
        seen.add(call.challenge.encode())
        return node.open(*call) if len(seen) <= 2 else REFUSAL

    service, record = Service(open=twice), tmp_path / "record"
    for _ in range(3):
        if how == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                audited(service=service, count=1, record=record, wrap=_interrupted_after(1))
        else:
            budget = Budget(nbytes=30_000)
            found = audited(service=service, count=1, record=record, budget=budget, cells="all")
            assert "bytes is used up" in found.campaign.stopped
        assert (_tally(record).open, len(_tally(record).sent[0].challenged)) == (1, 1)
    found = audited(service=service, count=2, record=record)
    assert (found.states, found.tally.warned) == ({"verified": 2}, 1)
    sent = [body for _, path, _, body in service.asked if path.endswith("open")]
    assert (len(sent), len(set(sent))) == (5, 2)
    events = [json.loads(line)["event"] for line in record.read_text().splitlines()]
    assert events.count("challenge") == 2


REFUSAL: Any = (429, {}, b'{"error": {"message": "challenged 2 times", "code": "challenge_limit"}}')


def _interrupted_after(at: int) -> Callable[[Any], Any]:
    """The auditor presses Ctrl-C when the node has opened the ``at``-th challenge."""
    count = 0

    def wrap(inner: Any) -> Any:
        class Interrupted:
            def handle_request(self, request: Any) -> Any:
                nonlocal count
                response = inner.handle_request(request)
                count += request.url.path.endswith("/open")
                if count == at:
                    raise KeyboardInterrupt
                return response

            def close(self) -> None:
                inner.close()

        return Interrupted()

    return wrap


def test_who_continues_with_the_model_needs_another_challenge(tmp_path: Path) -> None:
    service, record = Service(), tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(service=service, count=1, record=record, wrap=_interrupted_after(1))
    found = audited(service=service, count=1, record=record, holds="model")
    assert found.states == {"verified": 1}
    sent = [body for _, path, _, body in service.asked if path.endswith("open")]
    assert len(set(sent)) == 2


def test_a_challenge_on_record_that_is_none_is_named(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(count=1, record=record, wrap=_interrupted(1, "challenge"))
    with Record(record, BEGUN, Tally()) as left:
        left.write(Challenged(0, 0, 1.0, b"challenge"))
    with pytest.raises(InputError, match="answer 0 on record cannot be sent again"):
        audited(count=1, record=record)


def test_a_canary_of_which_one_choice_was_lost_is_not_checked(tmp_path: Path) -> None:
    """Whoever loses an answer does not know whether it was a good one."""
    body = {"prompt": "Once", "max_tokens": 4, "n": 2, "temperature": 1}
    whole, record = tmp_path / "whole", tmp_path / "record"
    audited(count=1, record=whole, traffic={"bodies": [body]})
    kept = whole.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(kept[:3]))  # killed between the first answer and the second
    found = audited(count=1, record=record, traffic={"bodies": [body]})
    assert found.states == {"unanswered": 1}
    assert [v.state for v in found.tally.verdicts] == ["unanswered", "verified"]
    assert (found.tally.checked(cells=True), found.tally.ruled_out) == (0, 1.0)
    (asked,) = [e for e in found.entries if isinstance(e, Verdict) and e.choice is None]
    assert found.tally.tokens == found.tally.sent[0].asked.prompt + found.tally.sent[0].asked.most
    assert "interrupted" in asked.error


def test_a_canary_that_was_interrupted_may_have_been_answered_badly_and_counts_as_not_checked(
    tmp_path: Path,
) -> None:
    record = tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(count=1, record=record, wrap=_interrupted(1, "question"))
    found = audited(count=1, record=record)
    (verdict,) = found.tally.verdicts
    assert (verdict.state, verdict.error) == ("unanswered", "the audit was interrupted before an answer came")


def test_an_answer_whose_retention_has_ended_is_not_held_against_the_node(tmp_path: Path) -> None:
    service, record = Service(), tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(service=service, count=1, record=record, wrap=_interrupted(1, "challenge"), clock=Clock(0))
    (answer,) = _tally(record).sent[0].answers.values()
    late = Clock(answer.when + 3600 + 1)
    found = audited(service=service, count=1, record=record, clock=late)
    assert found.states == {"unopened": 1}
    assert "opens" not in posts(service)


def test_a_replay_takes_an_answer_at_any_time(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(KeyboardInterrupt):
        audited(count=1, record=record, wrap=_interrupted(1, "challenge"))
    found = audited(count=1, record=record, holds="model", replay=True, clock=Clock(1e11))
    assert found.states == {"verified": 1}


def _tally(path: Path) -> Tally:
    tally = Tally()
    Record(path, BEGUN, tally).close()
    return tally


def test_answers_on_record_are_checked_again_before_they_are_challenged(tmp_path: Path) -> None:
    with Record(tmp_path / "record", BEGUN, Tally()) as record:
        record.write(Asked(0, "ab" * 32, "client", 1.0, 3, 4, 1))
        record.write(Answer(0, 0, 1.0, b"request", b"receipt", None, 3, 0))
    with pytest.raises(InputError, match="answer 0 on record cannot be audited"):
        audited(count=1, record=tmp_path / "record")


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_a_killed_audit_continues_where_it_was(kill_at: int, tmp_path: Path) -> None:
    """The whole command, killed while the node holds the ``kill_at``-th of its calls."""
    (tmp_path / "card").write_bytes(model().card.encode())
    pc.write_key(model(), KERNELS, tmp_path / "key")
    reached = threading.Event()

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        if len(door.asked()) + len(door.challenged()) == kill_at and not reached.is_set():
            reached.set()
            killed.wait(60)
        return honest()

    killed = threading.Event()
    with at_door(answering=answering) as door:
        words = ["audit", door.url, "--key", str(tmp_path / "key"), "--record", str(tmp_path / "record")]
        words += ["--count", "4", "--max-tokens", "4", "--json"]
        code = f"import sys\nfrom proofcompute.cli import main\nsys.exit(main({words!r}))"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
        try:
            assert reached.wait(120)
            child.send_signal(signal.SIGKILL)
            child.wait(60)
        finally:
            child.kill()
            killed.set()
        status = main(words)
        asked = [c.body for c in door.asked()]
    tally = _tally_of(tmp_path / "record", door.url)
    unanswered = tally.states["unanswered"]
    assert (len(tally.sent), tally.open, tally.failed) == (4, 0, 0)
    assert tally.states["verified"] == 4 - unanswered
    assert unanswered == (1 if kill_at <= 4 else 0)
    assert status == (3 if unanswered else 0)
    assert len(set(asked)) == len(asked) == 4


def _tally_of(path: Path, url: str) -> Tally:
    tally = Tally()
    Record(path, replace(BEGUN, url=url + "/v1"), tally).close()
    return tally


# -- what a node sees ----------------------------------------------------------------------------------------
def test_terms_are_fetched_when_all_canaries_are_answered(tmp_path: Path) -> None:
    service = Service()
    audited(service=service, holds="card", record=tmp_path / "record")
    paths = [path for _, path, _, _ in service.asked]
    assert paths[-1] == "/v1/proofs/terms"
    assert [path.endswith("completions") for path in paths] == [True, True, False]
    # whoever continues does not ask for them again, and what is asked after that is known to be checked
    service.terms = None
    again = audited(service=service, holds="key", count=3, record=tmp_path / "record")
    assert "/v1/proofs/terms" not in [path for _, path, _, _ in service.asked][3:]
    assert (again.tally.warned, again.tally.unpublished) == (1, 0)


def test_a_replay_asks_a_node_for_nothing_but_answers() -> None:
    service = Service()
    assert audited(service=service, holds="model", replay=True).states == {"verified": 2}
    assert all(path.endswith("completions") for _, path, _, _ in service.asked)


def test_receipts_under_terms_that_nobody_can_see_have_the_auditors_deadline_and_that_is_told() -> None:
    """A node may have changed them in the meantime, so it is not accused; it is not late either."""
    for made, state in ((None, "verified"), (_silent, "unopened")):
        service = Service() if made is None else Service(open=made)
        service.terms = Terms.of(NODE, base=29, rate=1000, retention=3600)
        found = audited(service=service, patience=0.3 if made else 600.0, count=1)
        assert (found.states, found.tally.unpublished) == ({state: 1}, 1)


def test_terms_of_somebody_else_are_a_contradiction() -> None:
    service = Service()
    service.node = Node(model(), NODE, device=KERNELS, terms=service.terms)
    other = Terms.of(OTHER, base=1, rate=1, retention=0)
    service.terms = replace(other, node=NODE.public)
    assert audited(service=service).states == {"contradicted": 2}


def test_a_receipt_without_terms_is_contradicted_if_the_node_publishes_some() -> None:
    service = Service()
    service.node = Node(model(), NODE, device=KERNELS, terms=None)
    assert audited(service=service).states == {"contradicted": 2}
    service = Service(terms=None)
    assert audited(service=service).states == {"verified": 2}


def test_a_repetition_of_a_canary_says_so() -> None:
    service = Service(status=503)
    audited(service=service, count=1)
    counts = [
        headers["x-stainless-retry-count"] for method, _, headers, _ in service.asked if method == "POST"
    ]
    assert counts == ["0", "1", "2"]


def test_a_stream_that_breaks_off_is_not_asked_for_again() -> None:
    """No client does that, so it would give the canary away."""
    service = Service(rewrite=lambda events: Broken(events))
    body = {"prompt": "Once", "max_tokens": 4, "stream": True}
    found = audited(service=service, count=1, traffic={"bodies": [body]})
    assert (found.states, posts(service)) == ({"unanswered": 1}, ["asks"])
    assert found.tally.tokens > 0


def test_a_redirect_of_a_canary_is_no_answer() -> None:
    found = audited(service=redirecting(), count=1)
    ((verdict, about),) = found.told
    assert (verdict.state, about) == ("unanswered", None)
    assert "redirects" in verdict.error


class Broken(list[bytes]):
    """The beginning of a stream, after which the connection is lost."""

    def __iter__(self) -> Any:
        yield super().__getitem__(0)
        raise httpx2.ReadError("the connection was lost")


def test_an_answer_that_drips_is_not_waited_for() -> None:
    class Slow(list[bytes]):
        def __iter__(self) -> Any:
            for piece in super().__iter__():
                time.sleep(0.06)
                yield piece

    service = Service(rewrite=lambda events: Slow(events))
    body = {"prompt": "Once", "max_tokens": 4, "stream": True}
    found = audited(service=service, count=1, patience=0.1, traffic={"bodies": [body]})
    assert found.states == {"unanswered": 1}
    assert "in time" in found.told[0][0].error


def test_an_asynchronous_reader_is_counted_too() -> None:
    async def read(response: Any) -> bytes:
        found = b"".join([piece async for piece in response.stream])
        await response.aclose()
        return found

    meter = Meter(Budget(nbytes=5))
    line = Line(httpx2, meter, inner=Service(terms=None).transport(httpx2))
    url = "http://node.example/v1/models"
    with pytest.raises(StoppedError, match="5 bytes"):
        asyncio.run(read(line.handle_request(httpx2.Request("GET", url))))
    line = Line(httpx2, Meter(Budget()), inner=Service(terms=None).transport(httpx2))
    assert b"tiny" in asyncio.run(read(line.handle_request(httpx2.Request("GET", url))))


def test_a_node_that_does_not_say_its_terms_is_challenged_all_the_same() -> None:
    def mute(inner: Any) -> Any:
        class Mute:
            def handle_request(self, request: Any) -> Any:
                if request.url.path.endswith("terms"):
                    raise httpx2.ReadTimeout("nothing came")
                return inner.handle_request(request)

            def close(self) -> None:
                inner.close()

        return Mute()

    found = audited(wrap=mute)
    assert (found.states, found.tally.unpublished) == ({"verified": 2}, 2)


def test_each_canary_has_a_connection_of_its_own() -> None:
    """Canaries on one connection would be known to belong together."""
    with at_door(answering=lambda call, honest: (403, {}, b"no")) as door:
        line = Line(httpx2, Meter(Budget()), fresh=True)
        for _ in range(3):
            request = httpx2.Request("POST", door.url + "/v1/completions", content=b"{}")
            response = line.handle_request(request)
            assert b"".join(response.stream) == b"no"
            response.close()
        line.close()
        assert len({c.port for c in door.calls}) == 3


# -- openings that do not come -------------------------------------------------------------------------------
def _silent(node: Node, call: Any) -> bytes:
    raise httpx2.ReadTimeout("nothing came")


BUSY = (429, {"retry-after": "0.1"}, b'{"error": {"message": "busy"}}')
PATIENCE: dict[str, tuple[Any, int, str]] = {
    "silent": (_silent, 3600, "unopened"),
    "silent past its terms": (_silent, 0, "silent"),
    "busy": (lambda node, call: BUSY, 3600, "unopened"),
    "busy past its terms": (lambda node, call: BUSY, 0, "refused"),
    "unavailable past its terms": (lambda node, call: (503, {}, b"busy"), 0, "silent"),
    "elsewhere": (lambda node, call: (404, {}, b"<h1>no such page</h1>"), 0, "unopened"),
    "refusing": (lambda node, call: (400, {}, b'{"error": {"message": "no"}}'), 3600, "refused"),
    "empty": (lambda node, call: b"", 3600, "contradicted"),
}


@pytest.mark.parametrize("name", PATIENCE)
def test_what_counts_against_a_node_is_what_its_terms_do_not_allow(name: str) -> None:
    made, base, state = PATIENCE[name]
    service = Service(terms=Terms.of(NODE, base=base, rate=1000, retention=3600), open=made)
    assert audited(service=service, count=1, patience=1.0).states == {state: 1}


def test_credentials_that_are_not_admitted_stop_an_audit_without_a_verdict() -> None:
    auditing = Auditing(service=Service(open=lambda node, call: (401, {}, b"who are you")), count=1)
    with pytest.raises(InputError, match="status 401"):
        auditing.run()


# -- contradictions ------------------------------------------------------------------------------------------
def test_a_contradicted_response_comes_with_all_that_shows_it() -> None:
    def other(sent: Any) -> Any:
        return {**sent, "system_fingerprint": "another"}

    found = audited(service=Service(change=other), count=1)
    ((verdict, about),) = found.told
    assert (verdict.state, verdict.choice) == ("contradicted", None)
    assert isinstance(about, Contradiction)
    assert verdict.found["response_bytes"] == len(about.response) > 0


def test_an_error_that_is_too_large_is_a_failure_without_details() -> None:
    service = Service(status=500)
    service._json = lambda status, value: (status, {}, b"x" * (2 << 20))  # type: ignore[method-assign]
    found = audited(service=service, count=1)
    ((verdict, about),) = found.told
    assert (verdict.state, about) == ("contradicted", None)


# -- what does not fit ---------------------------------------------------------------------------------------
def test_canaries_that_do_not_fit_the_model_are_drawn_again_and_never_sent() -> None:
    bodies: list[dict[str, Any]] = [{"prompt": "x" * 600, "max_tokens": 4}, {"prompt": "x", "tools": [1]}]
    service = Service()
    found = audited(service=service, count=1, traffic={"bodies": [*bodies, {"prompt": "y", "max_tokens": 4}]})
    assert found.states == {"verified": 1}
    (asked,) = [body for _, path, _, body in service.asked if path.endswith("completions")]
    assert json.loads(asked)["prompt"] == "y"
    with pytest.raises(InputError, match="no canary fits the model"):
        audited(count=1, traffic={"bodies": bodies})
    with pytest.raises(InputError, match="2 canaries are to be sent, and 1 recorded"):
        audited(count=2, traffic={"bodies": bodies[:1]})


def test_canaries_are_drawn_again_a_bounded_number_of_times() -> None:
    long: list[dict[str, Any]] = [{"prompt": "x" * 600, "max_tokens": i} for i in range(1, 80)]
    with pytest.raises(InputError, match="no canary fits the model"):
        audited(count=1, max_tokens=100, traffic={"bodies": long})


def test_verdicts_say_which_answer_they_are_about() -> None:
    found = audited(count=1)
    (verdict,) = [e for e in found.entries if isinstance(e, Verdict)]
    (answer,) = [e for e in found.entries if isinstance(e, Answer)]
    receipt = pc.Receipt.decode(answer.receipt)
    assert verdict.found["receipt_digest"] == receipt.digest.hex()
    assert verdict.found["node"] == NODE.public.hex()
    assert verdict.found["seconds"] >= 0
