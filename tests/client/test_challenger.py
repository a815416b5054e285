"""Challenges: honest openings are accepted; wrong, late and missing ones are failures on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import pytest

from client.doors import at_door
from client.standin import BASE, KERNELS, NAME, NODE, OTHER, Service, model
from proofcompute.client import Challenger, Checked, ProofTransport
from proofcompute.client.verdicts import audited_state
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, InputError, VerificationError
from proofcompute.openai import OpenCall
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, Verified, keygen

BODY = {"model": NAME, "prompt": "Once upon", "max_tokens": 4}


@pytest.fixture(scope="module")
def key() -> Key:
    return keygen(model(), KERNELS, seed=bytes([7] * 32))


def asked(service: Service, nonce_by: Any = "client") -> Checked:
    transport = ProofTransport(BASE, model().card, inner=service.transport(httpx2), nonce_by=nonce_by)
    with httpx2.Client(transport=transport) as client:
        client.post(BASE + "/completions", json=BODY)
    (found,) = transport.checked
    return found


def challenger(service: Service, holds: Any, library: Any = httpx2, **options: Any) -> Challenger:
    inner = service.transport(library)
    return Challenger(BASE, holds, device=KERNELS, inner=inner, library=library, **options)


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("cells", [3, "all"])
def test_an_honest_opening_is_accepted_under_a_key_and_the_model(key: Key, cells: Any, library: Any) -> None:
    service = Service()
    checked = asked(service)
    for holds in (key, model()):
        audited = challenger(service, holds, library).audit(checked, cells)
        assert isinstance(audited.found, Verified)
        total = checked.claim.statement.cells
        assert (audited.found.cells, audited.found.total) == (3 if cells == 3 else total, total)
        assert audited.waited is not None
        assert audited.refusal is None
        assert len(audited.opening.read()) == audited.found.bytes_opened


def test_a_replay_asks_the_node_nothing() -> None:
    service = Service()
    checked, before = asked(service), len(service.asked)
    audited = challenger(service, model()).replay(checked)
    assert isinstance(audited.found, Verified)
    assert audited.found.complete
    assert len(service.asked) == before


def test_a_replay_contradicts_another_model_behind_a_false_receipt() -> None:
    checked = asked(Service())
    # what a node can sign: the right form over a wrong trace
    receipt = replace(checked.claim.receipt, trace_root=bytes(32), signature=b"")
    signed = receipt.signed(NODE.sign(receipt.signed_digest)).encode()
    audited = challenger(Service(), model()).replay(replace(checked, receipt=signed))
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == 7


def test_a_card_checks_no_cells() -> None:
    service = Service()
    with pytest.raises(InputError, match="key"):
        challenger(service, model().card).audit(asked(service))


def _other_cells(node: Node, call: OpenCall) -> bytes:
    return node.open(call.request, call.receipt, replace(call.challenge, cells=call.challenge.cells[:1]))


def _of_another_key(node: Node, call: OpenCall) -> bytes:
    other = Node(model(), NodeIdentity(bytes(range(1, 33))), device=KERNELS)
    found = other.answer(replace(call.request, node=OTHER.public))
    challenge = replace(call.challenge, receipt_digest=_digest(found.receipt))
    return other.open(found.request, found.receipt, challenge)


def _digest(receipt: bytes) -> bytes:
    from proofcompute.protocol.messages import Receipt

    return Receipt.decode(receipt).digest


WRONG: dict[str, tuple[Callable[[Node, OpenCall], Any], int]] = {
    "other cells": (_other_cells, 6),
    "another receipt's cells": (_of_another_key, 6),
    "cut short": (lambda node, call: node.open(*call)[:-7], 1),
    "nothing": (lambda node, call: b"", 10),
    "no opening": (lambda node, call: b"\0" * 100, 1),
    "more than there is": (lambda node, call: node.open(*call) + b"\0" * 9, 10),
    "far too much": (lambda node, call: b"\0" * (1 << 23), 1),
    "a byte changed": (lambda node, call: _flipped(node.open(*call)), 0),
}


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_opening_is_rejected(name: str, key: Key) -> None:
    made, step = WRONG[name]
    service = Service(open=made)
    audited = challenger(service, key).audit(asked(service), 4)
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == step or (step == 0 and audited.found.step in (1, 2, 6, 7, 8, 9))
    assert audited.challenge is not None
    assert audited.found.node == NODE.public


def test_an_opening_after_the_deadline_is_rejected(key: Key) -> None:
    def late(node: Node, call: OpenCall) -> bytes:
        found = node.open(*call)
        time.sleep(0.1)
        return found

    service = Service(open=late)
    audited = challenger(service, key, patience=0.05).audit(asked(service))
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == 10
    assert "by the deadline" in audited.found.reason


def _silent(node: Node, call: OpenCall) -> bytes:
    raise httpx2.ReadTimeout("nothing came")


def test_silence_past_the_deadline_is_a_failure_on_record(key: Key) -> None:
    service = Service(open=_silent)
    checked = asked(service)
    audited = challenger(service, key, patience=0.6).audit(checked)
    assert isinstance(audited.found, VerificationError)
    assert (audited.found.step, audited.found.found) == (10, "silence")
    assert audited.found.receipt_digest == checked.claim.receipt.digest
    assert audited.refusal is None
    assert audited.challenge is not None
    # an error of the transport alone is tried again, and always with the same cells
    sent = [body for _, path, _, body in service.asked if path.endswith("open")]
    assert len(sent) > 1
    assert len(set(sent)) == 1


def test_a_lost_connection_is_tried_again(key: Key) -> None:
    calls = []

    def once(node: Node, call: OpenCall) -> bytes:
        calls.append(call)
        if len(calls) == 1:
            raise httpx2.ReadError("the connection was lost")
        return node.open(*call)

    service = Service(open=once)
    assert isinstance(challenger(service, key).audit(asked(service)).found, Verified)
    assert calls[0] == calls[1]


BUSY = (429, {"retry-after": "0"}, b'{"error": {"message": "busy"}}')


def test_a_busy_node_is_asked_again_within_the_deadline(key: Key) -> None:
    calls = []

    def busy(node: Node, call: OpenCall) -> Any:
        calls.append(call)
        return BUSY if len(calls) < 3 else node.open(*call)

    service = Service(open=busy)
    assert isinstance(challenger(service, key).audit(asked(service)).found, Verified)
    assert len(calls) == 3


LIMIT = b'{"error": {"message": "challenged too often", "code": "challenge_limit"}}'


@pytest.mark.parametrize("response", [BUSY, (429, {}, LIMIT), (400, {}, LIMIT)])
def test_a_refusal_is_told_apart_from_a_contradiction(response: Any, key: Key) -> None:
    service = Service(open=lambda node, call: response)
    audited = challenger(service, key, patience=0.3).audit(asked(service))
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == 10
    assert audited.refusal is not None
    assert audited.refusal.startswith(f"status {response[0]}")
    assert not audited.elsewhere


ELSEWHERE = {
    "another page": (404, {}, b"what"),
    "another page that looks like a node": (404, {}, LIMIT),
    "another method": (405, {}, b""),
    "a front server's limit of bytes": (413, {}, b"<html>too large</html>"),
    "a front server's limit of calls": (429, {}, b"no more"),
    "no call": (400, {}, b"<html>bad request</html>"),
    "an error without words": (400, {}, b'{"error": "no"}'),
    "a list": (400, {}, b"[]"),
    "an error whose message is none": (400, {}, b'{"error": {"message": 1}}'),
    "a redirect": (307, {"location": "http://else/"}, b""),
    "nothing": (204, {}, b""),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_a_front_server_says_accuses_no_node(name: str, key: Key) -> None:
    service = Service(open=lambda node, call: ELSEWHERE[name])
    audited = challenger(service, key).audit(asked(service))
    assert isinstance(audited.found, VerificationError)
    assert (audited.elsewhere, audited.refusal) == (True, None)
    assert audited_state(audited, 600.0) == "unopened"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_admitted_is_the_auditors_matter(status: int, key: Key) -> None:
    service = Service(open=lambda node, call: (status, {}, LIMIT))
    checked = asked(service)
    with pytest.raises(InputError, match=f"credentials: status {status}"):
        challenger(service, key).audit(checked)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again(status: int, key: Key) -> None:
    calls = []

    def passing(node: Node, call: OpenCall) -> Any:
        calls.append(call)
        return (status, {"retry-after": "0"}, b"") if len(calls) < 2 else node.open(*call)

    service = Service(open=passing)
    assert isinstance(challenger(service, key).audit(asked(service)).found, Verified)


def test_an_earlier_challenge_of_another_answer_is_the_callers_mistake(key: Key) -> None:
    service = Service()
    checked, found = asked(service), challenger(service, key)
    made = found.auditor(checked.terms).challenge(checked.request, checked.receipt, 1)
    for wrong in (replace(made, receipt_digest=bytes(32)), replace(made, cells=(Cell(99, 0, 1),))):
        with pytest.raises(InputError, match="none of this answer"):
            found.audit(checked, earlier=wrong)
    assert not [path for _, path, _, _ in service.asked if path.endswith("open")]
    assert found.audit(checked, earlier=made).challenge == made


def test_pauses_double_up_to_a_longest_one(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("proofcompute.client.challenger.time.sleep", slept.append)
    monkeypatch.setattr("proofcompute.client.challenger.random.random", lambda: 0.5)

    def unavailable(node: Node, call: OpenCall) -> Any:
        return (503, {}, b"") if len(slept) < 10 else node.open(*call)

    service = Service(open=unavailable)
    assert isinstance(challenger(service, key).audit(asked(service)).found, Verified)
    assert slept == pytest.approx([0.25 * 2**i for i in range(7)] + [30.0] * 3, abs=5)
    assert slept[:4] == [0.25, 0.5, 1.0, 2.0]


def test_a_nonce_that_the_node_chooses_twice_is_its_own_failure() -> None:
    service = Service()
    first = asked(service, "node")
    service.other = lambda body: {**body, "prompt": "Once"}
    found = challenger(service, model())
    assert isinstance(found.audit(first).found, Verified)
    second = replace(
        first, request=replace(first.request, text="", inputs=(("tokens", first.request.inputs[0][1][:4]),))
    )
    audited = found.audit(second)
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == 4


def test_a_proxy_of_the_environment_does_not_come_between(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with at_door() as door:
        checked, before = asked(door.service), len(door.calls)
        found = Challenger(f"{door.url}/v1", key, device=KERNELS, patience=20)
        try:
            assert isinstance(found.audit(checked, 1).found, Verified)
        finally:
            found.close()
        assert len(door.calls) == before + 1
