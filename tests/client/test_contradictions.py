"""What is kept of a contradiction, and what others can make of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from client.standin import BASE, KERNELS, MESSAGES, NAME, NODE, OTHER, Service, model, prompter
from proofcompute.client import Contradiction, ProofTransport, contradiction_in
from proofcompute.client.kept import Kept
from proofcompute.client.pins import Served
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import VerificationError
from proofcompute.protocol.messages import Receipt
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

AUDITOR = NodeIdentity(bytes(range(2, 34)))
BODY = {"model": NAME, "messages": MESSAGES, "max_tokens": 6}
STREAM = {**BODY, "stream": True}


@pytest.fixture(autouse=True)
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "prompter", property(lambda served: prompter()))


def contradicted(service: Service, body: dict[str, Any], **options: Any) -> Contradiction:
    """Ask, and return the contradiction."""
    told = list[Contradiction]()
    through = ProofTransport(
        BASE, model().card, inner=service.transport(httpx2), on_contradiction=told.append, **options
    )
    with httpx2.Client(transport=through) as client, pytest.raises(VerificationError) as raised:
        client.post(BASE + "/chat/completions", json=body)
    (found,) = told
    assert list(through.contradictions) == told
    assert found.error is contradiction_in(raised.value)
    return found


def signing(change: Callable[[Receipt], Receipt], identity: NodeIdentity = NODE) -> Callable[[Any], Any]:
    """A change of a response: the receipt says something else, and is signed again."""

    def changed(sent: dict[str, Any]) -> dict[str, Any]:
        if "proofcompute" in sent:
            receipt = change(Receipt.decode(base64.b64decode(sent["proofcompute"]["receipt"])))
            made = replace(receipt, signature=b"")
            signed = made.signed(identity.sign(made.signed_digest)).encode()
            sent["proofcompute"]["receipt"] = base64.b64encode(signed).decode()
        return sent

    return changed


SIGNED: dict[str, Callable[[Receipt], Receipt]] = {
    "another stop reason": lambda r: replace(r, stop_reason="stop"),
    "more rows": lambda r: replace(r, rows=r.rows + 1),
    "another model": lambda r: replace(r, model_id=bytes(32)),
    "a token fewer": lambda r: replace(r, outputs=((r.outputs[0][0], r.outputs[0][1][:-4]),)),
}
"""What a node signs for the very request that it was asked."""
UNSIGNED: dict[str, Callable[[Any], Any]] = {
    "another text": lambda sent: json.loads(json.dumps(sent).replace('"content": "', '"content": "!')),
    "another request": signing(lambda r: replace(r, request_digest=bytes(32))),
    "the signature of another": signing(lambda r: r, OTHER),
    "no receipt": lambda sent: {k: v for k, v in sent.items() if k != "proofcompute"},
    "no signature": lambda sent: (
        {**sent, "proofcompute": {**sent["proofcompute"], "receipt": "AAAA"}}
        if "proofcompute" in sent
        else sent
    ),
}
"""What a node cannot be held to."""


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("name", SIGNED)
def test_what_the_node_signed_is_shown_to_who_holds_the_card(name: str, body: dict[str, Any]) -> None:
    found = contradicted(Service(change=signing(SIGNED[name])), body)
    assert found.rejected == 0
    bundle = found.evidence(AUDITOR)
    assert bundle is not None
    judged = verify_evidence(bundle, model().card, kernels=KERNELS)
    assert (judged.finding, judged.stands, judged.as_claimed) == (Finding.CONTRADICTED, True, True)
    assert judged.node == NODE.public
    assert judged.claimed.step == found.error.step
    # whoever has the request can decide it when the bundle does not disclose it
    hidden = found.evidence(AUDITOR, disclose=False)
    assert hidden is not None
    assert hidden.evidence.disclosed() is None
    request = found.stated[0].request
    again = verify_evidence(hidden, model().card, kernels=KERNELS, request=request)
    assert again.finding is Finding.CONTRADICTED


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("name", UNSIGNED)
def test_what_the_node_did_not_sign_is_kept_and_makes_no_evidence(name: str, body: dict[str, Any]) -> None:
    found = contradicted(Service(change=UNSIGNED[name]), body)
    assert found.evidence(AUDITOR) is None
    assert json.loads(found.question) == body
    assert found.nonce is not None
    assert len(found.nonce) == 32
    assert (b"data: " in found.response) == ("stream" in body)
    assert found.endpoint == "chat"
    assert found.card == model().card
    if name == "another text":  # the receipt came, and can be audited
        assert found.rejected is None
        assert Receipt.decode(found.stated[0].receipt).request_digest == found.stated[0].request.digest
        assert found.stated[0].terms is not None


def test_a_wish_of_the_client_is_no_accusation() -> None:
    found = contradicted(Service(), BODY, retention=10**6)
    assert (found.error.step, found.rejected) == (5, 0)
    assert found.evidence(AUDITOR) is None


def test_a_contradiction_before_the_answer_has_no_response() -> None:
    service = Service(headers={"content-type": "text/html"})
    found = contradicted(service, BODY)
    assert (found.response, found.stated, found.audited) == (b"", (), None)
    assert found.nbytes == len(found.question)


def test_what_is_kept_is_bounded_in_number_and_bytes() -> None:
    class Item:
        def __init__(self, nbytes: int) -> None:
            self.nbytes = nbytes

    kept, items = Kept[Item](3, 10), [Item(4), Item(4), Item(4), Item(11), Item(1), Item(1), Item(1), Item(1)]
    seen = []
    for item in items:
        kept.add(item)
        seen.append(list(kept))
    assert [len(s) for s in seen] == [1, 2, 2, 1, 1, 2, 3, 3]
    assert seen[2] == items[1:3]
    assert seen[3] == [items[3]]
    assert (kept[-1], kept[:2], len(kept)) == (items[-1], items[-3:-1], 3)
