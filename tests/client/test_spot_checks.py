"""Answers that are challenged as they pass through the transport, on the spot or in the background."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from client.standin import BASE, KERNELS, MESSAGES, NAME, NODE, Service, model, prompter
from client.unchanged import questions
from proofcompute.client import Challenger, Contradiction, ProofTransport, SpotChecks, spotchecks
from proofcompute.client.pins import Served
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, VerificationError
from proofcompute.protocol.messages import Outcome, Terms
from proofcompute.protocol.samples import Sample
from proofcompute.verifier import Key, keygen
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence
from proofcompute.verifier.policy import AuditPolicy

BODY = {"model": NAME, "messages": MESSAGES, "max_tokens": 4}
STREAM = {**BODY, "stream": True}
BODIES = pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
AUDITOR = NodeIdentity(bytes(range(2, 34)))
MODES = pytest.mark.parametrize("wait", [True, False], ids=["on the spot", "in the background"])


@pytest.fixture(scope="module")
def key() -> Key:
    return keygen(model(), KERNELS)


@pytest.fixture(autouse=True)
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "prompter", property(lambda served: prompter()))


def challenger(service: Service, holds: Any, **options: Any) -> Challenger:
    inner = service.transport(httpx2)
    return Challenger(BASE, holds, device=KERNELS, inner=inner, library=httpx2, **options)


def checking(service: Service, holds: Any, *, share: float = 1, wait: bool = True, **options: Any) -> Any:
    """A transport that challenges a share of the answers."""
    how = {name: options.pop(name) for name in ("cells", "replay") if name in options}
    checks = SpotChecks(challenger(service, holds), share, wait=wait, **how)
    return ProofTransport(BASE, model().card, inner=service.transport(httpx2), spot_checks=checks, **options)


def ask(through: ProofTransport, body: dict[str, Any]) -> bytes:
    """What a client reads; the transport stays open."""
    found = httpx2.Client(transport=through).post(BASE + "/chat/completions", json=body)
    data: bytes = found.content
    return data


def _reading(through: ProofTransport, body: dict[str, Any], read: list[bytes]) -> None:
    """Read an answer, and keep what came of it."""
    with httpx2.Client(transport=through).stream("POST", BASE + "/chat/completions", json=body) as response:
        read.extend(response.iter_raw())


async def ask_async(through: ProofTransport, body: dict[str, Any]) -> bytes:
    found = await httpx2.AsyncClient(transport=through).post(BASE + "/chat/completions", json=body)
    data: bytes = found.content
    return data


def openings(service: Service) -> int:
    return sum(path.endswith("/proofs/open") for _, path, *_ in service.asked)


def false(service: Service) -> Service:
    """A node that opens what it did not compute."""
    service.open = lambda node, call: node.open(*call)[:-7]
    return service


@BODIES
@MODES
def test_an_honest_node_is_challenged_and_its_answers_pass(
    body: dict[str, Any], wait: bool, key: Key
) -> None:
    service = Service()
    before = len(key.log.attempts)
    through = checking(service, key, wait=wait, cells=2)
    first = ask(through, body)
    second = asyncio.run(ask_async(through, body))
    through.close()
    assert first
    assert second
    assert openings(service) == len(through.checked) == 2
    assert len(key.log.attempts) == before + 2  # each challenge counts under the key
    assert len(through.contradictions) == 0


def test_a_replay_asks_the_node_for_nothing_more() -> None:
    service = Service()
    through = checking(service, model(), replay=True)
    ask(through, BODY)
    through.close()
    assert openings(service) == 0


def test_the_share_is_drawn_for_each_answer(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.249999, 0.25, 0.9, 0.0])

    class Draws:
        def random(self) -> float:
            return next(drawn)

    monkeypatch.setattr(spotchecks, "_RANDOM", Draws())
    service = Service()
    through = checking(service, key, share=0.25, cells=1)
    counts = []
    for _ in range(4):
        ask(through, BODY)
        counts.append(openings(service))
    assert counts == [1, 1, 1, 2]


@BODIES
def test_a_false_opening_is_raised_before_the_end_of_the_answer(body: dict[str, Any], key: Key) -> None:
    service = false(Service())
    told = list[Contradiction]()
    through = checking(service, key, cells=2, on_contradiction=told.append)
    read = list[bytes]()
    with pytest.raises(VerificationError) as raised:
        _reading(through, body, read)
    assert b'"finish_reason":"' not in b"".join(read)
    assert b"[DONE]" not in b"".join(read)
    assert bool(read) == ("stream" in body)
    (found,) = told
    assert found.error is raised.value
    assert found.audited is not None
    assert found.audited.challenge is not None
    assert found.rejected is None
    bundle = found.evidence(AUDITOR)
    assert bundle is not None
    judged = verify_evidence(bundle, key, kernels=KERNELS)
    assert judged.finding is Finding.UNATTRIBUTABLE  # a cut opening is signed by nobody
    assert bundle.evidence.outcome.kind == "contradicted"
    with pytest.raises(VerificationError):
        ask(through, body)
    assert questions(service) == 2  # the question and the challenge: nothing was asked again


def test_a_false_opening_reaches_an_asynchronous_client(key: Key) -> None:
    through = checking(false(Service()), key, cells=2)
    with pytest.raises(VerificationError):
        asyncio.run(ask_async(through, STREAM))


@BODIES
def test_a_false_opening_in_the_background_stops_the_transport(body: dict[str, Any], key: Key) -> None:
    service, release = Service(), threading.Event()

    def later(node: Any, call: Any) -> bytes:
        assert release.wait(60)
        found: bytes = node.open(*call)
        return found[:-7]

    service.open = later
    told = list[tuple[Contradiction, str]]()
    done = threading.Event()

    def tell(found: Contradiction) -> None:
        told.append((found, threading.current_thread().name))
        done.set()

    through = checking(service, key, wait=False, on_contradiction=tell)
    assert ask(through, body)  # the answer came before the verdict
    assert ask(through, {**body, "seed": 1})
    release.set()
    assert done.wait(60)
    asked = questions(service)
    with pytest.raises(VerificationError) as closing:
        through.close()
    assert len(told) == 2
    assert all(thread.startswith("spot-checks") for _, thread in told)
    with pytest.raises(VerificationError) as raised:
        ask(through, {**body, "seed": 2})
    assert questions(service) == asked
    for error in (closing.value, raised.value):
        assert error.__cause__ in [found.error for found, _ in told]
    assert {found.audited.found for found, _ in told if found.audited} == {f.error for f, _ in told}


def test_an_asynchronous_client_learns_of_it_when_it_closes(key: Key) -> None:
    async def run() -> None:
        async with httpx2.AsyncClient(transport=checking(false(Service()), key, wait=False)) as client:
            await client.post(BASE + "/chat/completions", json=BODY)

    with pytest.raises(VerificationError):
        asyncio.run(run())


@MODES
def test_contradictions_that_are_only_recorded_stop_nothing(wait: bool, key: Key) -> None:
    service = false(Service())
    through = checking(service, key, wait=wait, on_failure="record")
    first = ask(through, BODY)
    assert b"finish_reason" in first
    through.close()
    assert ask(through, {**BODY, "seed": 1})
    through.close()
    assert len(through.contradictions) == 2
    assert all(c.audited is not None for c in through.contradictions)


@MODES
def test_a_refusal_counts_as_much_as_a_false_opening(wait: bool, key: Key) -> None:
    service = Service(open=lambda node, call: (400, {}, b'{"error": {"message": "no"}}'))
    through = checking(service, key, wait=wait)
    if wait:
        with pytest.raises(VerificationError, match="does not open"):
            ask(through, BODY)
    else:
        ask(through, BODY)
        with pytest.raises(VerificationError, match="does not open"):
            through.close()
    (found,) = through.contradictions
    bundle = found.evidence(AUDITOR)
    assert bundle is not None
    assert bundle.evidence.outcome == Outcome("refused")
    assert verify_evidence(bundle, key, kernels=KERNELS).finding is Finding.ASSERTED
    assert found.error.node == NODE.public


# -- a challenger that gives up before the node's terms do --------------------------------------------------
class _Lost(httpx2.BaseTransport):
    """Lets nothing through to the node, whose terms allow it an hour."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("nothing came", request=request)


def _patient() -> Service:
    return Service(terms=Terms.of(NODE, base=3600, rate=1000, retention=3600))


def _impatient(service: Service, how: str, holds: Any) -> Challenger:
    if how == "busy":
        service.open = lambda node, call: (503, {"retry-after": "0.1"}, b"busy")
    inner = _Lost() if how == "silent" else service.transport(httpx2)
    return Challenger(BASE, holds, device=KERNELS, inner=inner, library=httpx2, patience=0.3)


@MODES
@pytest.mark.parametrize("how", ["silent", "busy"])
def test_who_gives_up_before_the_terms_do_accuses_nobody(wait: bool, how: str) -> None:
    service = _patient()
    checks = SpotChecks(_impatient(service, how, model()), 1, wait=wait)
    through = ProofTransport(BASE, model().card, inner=service.transport(httpx2), spot_checks=checks)
    if not wait:
        assert ask(through, BODY)
        with pytest.raises(InputError, match="within your patience"):
            through.close()
    with pytest.raises(InputError, match="within your patience"):
        ask(through, STREAM)
    assert len(through.contradictions) == 0


def test_silence_before_the_deadline_of_the_terms_makes_no_evidence() -> None:
    service = _patient()
    through = ProofTransport(BASE, model().card, inner=service.transport(httpx2))
    ask(through, BODY)
    audited = _impatient(service, "silent", model()).audit(through.checked[0], 1)
    assert isinstance(audited.found, VerificationError)
    found = Contradiction(
        error=audited.found,
        endpoint="chat",
        question=b"",
        nonce=None,
        response=b"",
        stated=(),
        rejected=None,
        card=model().card,
        audited=audited,
        when=0.0,
    )
    assert found.evidence(AUDITOR) is None
    assert found.evidence(AUDITOR, disclose=False) is None


@MODES
def test_what_prevents_a_challenge_stops_the_transport_too(
    wait: bool, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise InputError("the key was used too often")

    monkeypatch.setattr(Challenger, "audit", broken)
    through = checking(Service(), key, wait=wait)
    if wait:
        with pytest.raises(InputError, match="too often"):
            ask(through, BODY)
        return
    ask(through, BODY)
    with pytest.raises(InputError, match="too often"):
        through.close()
    with pytest.raises(InputError, match="too often"):
        ask(through, {**BODY, "seed": 1})


def test_answers_wait_when_too_many_challenges_wait(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spotchecks, "WAITING_CHALLENGES", 1)
    service, release = Service(), threading.Event()

    def slow(node: Any, call: Any) -> Any:
        if threading.current_thread().name.startswith("spot-checks"):
            assert release.wait(60)
            return node.open(*call)
        return b""  # whatever is challenged in the thread that asks

    service.open = slow
    through = checking(service, key, wait=False)
    ask(through, BODY)
    with pytest.raises(VerificationError):
        ask(through, {**BODY, "seed": 1})
    release.set()
    through.close()  # the first answer was right


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float, key: Key) -> None:
    with pytest.raises(InputError, match="share"):
        checking(Service(), key, share=share)


@MODES
def test_a_policy_draws_what_is_challenged(wait: bool, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    service, drawn = Service(), [Sample(1, 2), None, "all", None]
    monkeypatch.setattr(AuditPolicy, "choose", lambda policy: drawn.pop(0))
    through = checking(service, key, cells=AuditPolicy(0.5), wait=wait)
    for i in range(4):
        ask(through, {**BODY, "seed": i})
    through.close()
    assert (openings(service), drawn) == (2, [])
    with pytest.raises(InputError, match="opens none"):
        checking(Service(), model(), cells=AuditPolicy(0.5), replay=True)


def test_what_a_policy_spares_is_drawn_after_the_receipt(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has signed before anybody, the client too, knows whether this answer is checked."""
    service, signed = Service(), []

    def choose(policy: AuditPolicy) -> None:
        signed.append(len(through.checked))

    monkeypatch.setattr(AuditPolicy, "choose", choose)
    through = checking(service, key, cells=AuditPolicy(0.5))
    ask(through, BODY)
    ask(through, {**BODY, "seed": 1})
    assert signed == [1, 2]


def test_what_cannot_challenge_is_refused(key: Key) -> None:
    with pytest.raises(InputError, match="card"):
        checking(Service(), model().card)
    with pytest.raises(InputError, match="the model"):
        checking(Service(), key, replay=True)
    other = SpotChecks(challenger(Service(), model(1)), 1)
    with pytest.raises(InputError, match="another model"):
        ProofTransport(BASE, model().card, spot_checks=other)


ENDING = """
import logging, sys, time
logging.basicConfig()
sys.path[:0] = sys.argv[1:]
import httpx2
from client.standin import BASE, KERNELS, Service, model
from proofcompute.client import Challenger, ProofTransport, SpotChecks

def late(node, call):
    time.sleep(0.5)
    return node.open(*call)[:-7]

service = Service(open=late)
inner = service.transport(httpx2)
checks = SpotChecks(Challenger(BASE, model(), device=KERNELS, inner=inner, library=httpx2), 1, wait=False)
through = ProofTransport(BASE, model().card, inner=inner, spot_checks=checks)
body = {"model": "tiny", "prompt": "Once", "max_tokens": 2}
print(httpx2.Client(transport=through).post(BASE + "/completions", json=body).status_code, flush=True)
"""


def test_a_process_that_ends_waits_for_its_verdicts() -> None:
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(tests), str(tests.parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "200"
    assert "contradicted at step" in done.stderr
