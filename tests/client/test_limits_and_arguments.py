"""What a caller gives the transport, what it keeps between processes, and times that pass."""

from __future__ import annotations

import asyncio
import builtins
import pickle
import re
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from client.lies import CHAT, ask, transport
from client.standin import BASE, KERNELS, NODE, Service, model, model_id, prompter
from proofcompute import client
from proofcompute.client import Challenger, ProofTransport, contradiction_in, libraries
from proofcompute.client.checked import Rules
from proofcompute.client.exchange import Exchange
from proofcompute.client.flow import Clock
from proofcompute.client.interface import Interface
from proofcompute.client.kept import Refused
from proofcompute.client.limits import MAX_FAILURES
from proofcompute.client.pins import Pins, Served
from proofcompute.client.terms import TermsBook
from proofcompute.errors import Cell, InputError, MismatchError, UnsupportedError, VerificationError
from proofcompute.protocol.messages import Terms
from proofcompute.testing.models import random_network

REQUEST = httpx2.Request("POST", BASE)


@pytest.fixture(autouse=True)
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Served, "prompter", property(lambda served: prompter(served.card.model_id != model_id()))
    )


def test_the_public_names_are_pinned_and_documented() -> None:
    names = """Audited Challenger Checked Contradiction HttpStage PipelineAnswer ProofTransport SpotChecks
    StageOpener Stated ask_pipeline contradiction_in"""
    assert sorted(client.__all__) == names.split()
    page = (Path(__file__).resolve().parents[2] / "docs" / "api" / "client.md").read_text("utf-8")
    assert sorted(re.findall(r"^::: proofcompute\.client\.(\w+)$", page, re.MULTILINE)) == names.split()


# -- addresses ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url", ["http://[::1", "ftp://node/v1", "node:8000", "http:///v1", "http://n/v1?x=1", "http://u@n/v1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="base URL"):
        Interface(url)


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "http://else.example/v1/chat/completions"),
        ("POST", "https://node.example/v1/chat/completions"),
        ("POST", "http://node.example:81/v1/chat/completions"),
        ("POST", "http://node.example/v2/chat/completions"),
        ("GET", "http://node.example/v1/../secrets"),
        ("GET", "http://node.example/v1x/models"),
    ],
)
def test_a_request_outside_of_the_node_s_interface_is_not_sent(method: str, url: str) -> None:
    service = Service()
    with httpx2.Client(transport=transport(service)) as asking, pytest.raises(InputError, match="outside"):
        asking.request(method, url, json=CHAT)
    assert service.asked == []


def test_an_answer_that_has_no_receipt_is_not_asked_for_unless_none_is_required() -> None:
    with pytest.raises(InputError, match="no receipts"):
        ask(transport(Service()), CHAT, "/moderations")
    service = Service()
    assert ask(transport(service, require=False), CHAT, "/moderations") == b""
    assert len(service.asked) == 1


# -- arguments ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{"on_failure": "ignore"}, {"nonce_by": "nobody"}, {"terms": "x"}])
def test_an_option_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        transport(Service(), **options)


@pytest.mark.parametrize("models", [b"short", {"tiny": "x"}, {3: model_id()}])
def test_a_pin_that_is_none_is_refused(models: Any) -> None:
    with pytest.raises(InputError):
        Pins(models)


def test_a_model_that_speaks_no_language_is_refused() -> None:
    with pytest.raises(InputError, match="neither a language model"):
        Pins(random_network([4, 4]).card)


def test_models_are_pinned_by_name() -> None:
    service = Service()
    through = ProofTransport(BASE, {"tiny": model().card}, inner=service.transport(httpx2))
    assert ask(through, CHAT)
    with pytest.raises(InputError, match="no model id is pinned"):
        ask(through, {**CHAT, "model": "another"})


def test_a_caller_s_own_nonce_is_refused() -> None:
    with pytest.raises(InputError, match="nonce itself"):
        ask(transport(Service()), CHAT, proofcompute_nonce=64 * "0")


def test_requests_of_another_library_are_refused() -> None:
    with pytest.raises(InputError, match="httpx"):
        libraries.library_of(SimpleNamespace())


def test_the_library_that_is_installed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: set[str] = set()
    honest = builtins.__import__

    def without(name: str, *args: Any, **named: Any) -> Any:
        if name in missing:
            raise ModuleNotFoundError(name)
        return honest(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert libraries.load().__name__ == "httpx2"
    missing.add("httpx2")
    assert libraries.load().__name__ == "httpx"
    missing.add("httpx")
    with pytest.raises(UnsupportedError, match=r"proofcompute\[client\]"):
        libraries.load()


def test_an_exchange_without_its_model_cannot_be_checked() -> None:
    rules = Rules(None, TermsBook(None, terms=False), 0, require=True)
    exchange = Exchange(b'{"model": "x", "prompt": "y"}', "completions", rules, None, lambda checked: None)
    with pytest.raises(InputError, match="not known yet"):
        _ = exchange.served
    assert exchange.contradicted(VerificationError(1, "x"), b"").card is None


# -- cards and terms ---------------------------------------------------------------------------------------
def test_cards_are_kept_between_processes_and_damaged_ones_are_replaced(tmp_path: Path) -> None:
    def cards(service: Service) -> int:
        return sum("/proofs/card/" in path for _, path, *_ in service.asked)

    service, folder = Service(), tmp_path / "cards"
    for count in (1, 1):  # the second transport finds the card of the first
        ask(transport(service, cache=folder), CHAT)
        assert cards(service) == count
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    for count in (2, 2):
        ask(transport(service, cache=folder), CHAT)
        assert cards(service) == count


def test_receipts_must_name_the_terms_that_are_given() -> None:
    service = Service()
    assert service.terms is not None
    own, others = service.terms.encode(), Terms.of(NODE, base=99, rate=1000, retention=3600).encode()
    assert ask(transport(service, terms=own), CHAT)
    assert ask(transport(service, terms=False), CHAT)
    assert not any(path.endswith("/terms") for _, path, *_ in service.asked)
    with pytest.raises(VerificationError) as raised:
        ask(transport(service, terms=others), CHAT)
    assert raised.value.step == 5
    with pytest.raises(VerificationError) as raised:
        transport(service, terms=own[:-1])
    assert raised.value.step == 1


def test_terms_of_a_node_are_bounded_in_number() -> None:
    book = TermsBook(NODE.public, terms=True)
    made = [Terms.of(NODE, base=30, rate=n + 1, retention=3600) for n in range(65)]
    for terms in made:
        book.learn(terms.encode())
    assert book.named(made[0].digest) is None
    assert book.named(made[1].digest) == made[1].encode()


# -- memory and time ---------------------------------------------------------------------------------------
def test_contradicted_questions_are_bounded_in_number() -> None:
    refused = Refused()
    questions = [n.to_bytes(32, "little") for n in range(MAX_FAILURES + 1)]
    for question in questions:
        refused.add(question, VerificationError(1, "x"))
    refused.require_new(questions[0])
    with pytest.raises(VerificationError):
        refused.require_new(questions[1])


@pytest.mark.parametrize(("idle", "total"), [(-1.0, 60.0), (60.0, -1.0)])
def test_time_runs_out_without_progress_and_in_all(idle: float, total: float) -> None:
    clock = Clock(REQUEST)
    clock.require(idle=60, total=60)
    with pytest.raises(httpx2.ReadTimeout, match="too slowly"):
        clock.require(idle=idle, total=total)


def test_an_error_s_body_is_passed_on_to_an_asynchronous_client() -> None:
    async def asked() -> Any:
        async with httpx2.AsyncClient(transport=transport(Service(status=503))) as asking:
            return await asking.post(BASE + "/chat/completions", json=CHAT)

    found = asyncio.run(asked())
    assert (found.status_code, found.json()["error"]["message"]) == (503, "busy")


def test_a_nonce_of_the_client_s_own_used_twice_is_its_own_mistake() -> None:
    service = Service()
    through = transport(service)
    ask(through, CHAT)
    (checked,) = through.checked
    found = Challenger(BASE, model(), device=KERNELS, inner=service.transport(httpx2), library=httpx2)
    found.audit(checked, 1)
    assert checked.request.generation is not None
    shorter = replace(checked.request.generation, max_tokens=1)
    other = replace(checked, request=replace(checked.request, generation=shorter))
    with pytest.raises(MismatchError):
        found.audit(other, 1)


def test_an_error_that_holds_no_contradiction() -> None:
    looped = ValueError("x")
    looped.__context__ = KeyError("y")
    looped.__context__.__context__ = looped
    assert contradiction_in(looped) is None


def _pickled(error: VerificationError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("again", [copy, _pickled])
def test_an_error_is_copied_with_all_that_it_says(again: Any) -> None:
    error = VerificationError(8, "wrong", cell=Cell(0, 1, 2), operation="x", expected=1, found=2)
    error.node = bytes(32)
    found = again(error)
    assert (type(found), str(found), vars(found)) == (VerificationError, str(error), vars(error))
