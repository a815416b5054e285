"""What is removed from the checks of a client over HTTP, and which lie then passes."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from adversary.mutation import Edit
from client.lies import CHAT, ask, cheat, transport
from client.standin import BASE, KERNELS, Service, model
from client.unchanged import lying
from proofcompute.client import Challenger, ProofTransport, SpotChecks
from proofcompute.client.checked import Checked
from proofcompute.client.events import Events
from proofcompute.client.exchange import Exchange
from proofcompute.client.flow import Clock, _Gathered
from proofcompute.client.inflate import Inflater
from proofcompute.client.sources import Bounded
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.openai import OpenCall

STREAM = {**CHAT, "stream": True}
ERROR = b'data: {"error": {"message": "x"}}\n\n'
GZIP = gzip.compress(b"{}")
REQUEST = httpx2.Request("POST", BASE)


@dataclass(frozen=True)
class Mutant:
    """A check that is removed, and a lie that passes then."""

    site: str | None
    """The place that raises; None if the error is made elsewhere."""
    edit: Edit
    attack: Callable[[], object]
    """Raises VerificationError with the check."""
    escapes: type[Exception] | None = None
    """What is raised without the check instead of a VerificationError."""


def never(module: str, condition: str) -> Edit:
    """The condition of an ``if`` that raises is never met."""
    return Edit(f"client.{module}", f"if {condition}:", "if False:")


def told(name: str, *, stream: bool = False, **options: Any) -> Callable[[], object]:
    """A lie of the table, to a client that does not stream or does."""
    return lambda: ask(transport(cheat(name)[0], **options), STREAM if stream else CHAT)


def streamed(rewrite: Callable[[list[bytes]], list[bytes]]) -> Callable[[], object]:
    """A stream whose events are changed."""
    return lambda: ask(transport(Service(rewrite=rewrite)), STREAM)


def answering(path: str, change: Callable[[Any], Any], **options: Any) -> Callable[[], object]:
    """Change status, headers and body of what a node sends under a path."""

    def attack() -> object:
        service = Service(**options)
        honest = service.respond

        def respond(method: str, at: str, headers: dict[str, str], data: bytes) -> Any:
            found = honest(method, at, headers, data)
            return change(found) if path in at else found

        setattr(service, "respond", respond)  # noqa: B010 - a method of one instance
        return ask(transport(service), CHAT)

    return attack


def feeding(data: bytes, *, line: int = 100, total: int = 1000) -> Callable[[], object]:
    return lambda: list(Events(line=line, total=total).feed(data))


def ending(data: bytes) -> Callable[[], object]:
    def attack() -> object:
        events = Events(line=100, total=100)
        found = list(events.feed(data))
        events.end()
        return found

    return attack


def inflating(data: bytes, coding: str = "gzip", limit: int = 100, *, end: bool = False) -> Any:
    def attack() -> object:
        inflater = Inflater(coding, limit)
        found = inflater.feed(data)
        if end:
            inflater.end()
        return found

    return attack


def another_day() -> object:
    """A template that refuses the conversation on the day that the node names, which is tomorrow."""
    honest = Exchange._requests

    def requests(self: Exchange, nonce: bytes, node: bytes, day: date) -> Any:
        if node:
            raise InputError("the template refuses the conversation")
        return honest(self, nonce, node, day)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exchange, "_requests", requests)
        return ask(transport(Service()), CHAT)


def dated(sent: dict[str, Any]) -> dict[str, Any]:
    """Another day in the proof, long ago; the template does not show it."""
    if "proofcompute" in sent:
        day = date.fromisoformat(sent["proofcompute"]["date"]) - timedelta(days=400)
        sent["proofcompute"]["date"] = day.isoformat()
    return sent


def asked(service: Service, nonce_by: Any = "client") -> Checked:
    through = transport(service, nonce_by=nonce_by)
    ask(through, CHAT)
    (found,) = through.checked
    return found


def challenger(service: Service) -> Challenger:
    inner = service.transport(httpx2)
    return Challenger(BASE, model(), device=KERNELS, inner=inner, library=httpx2)


def receiving(*, most: int = 1 << 24, deadline: float = 60.0, late: float = 0.0) -> Callable[[], object]:
    """An opening that is larger, or later, than it may be."""

    def slowly(node: Any, call: OpenCall) -> bytes:
        time.sleep(late)
        found: bytes = node.open(*call)
        return found

    def attack() -> object:
        service = Service(open=slowly)
        checked, found = asked(service), challenger(service)
        challenge = found.auditor(checked.terms).challenge(checked.request, checked.receipt, 1)
        body = OpenCall(checked.request, checked.receipt, challenge).encode()
        return found._receive(body, io.BytesIO(), most, time.monotonic(), deadline)

    return attack


def nonce_twice() -> object:
    """A nonce that the node chose for two questions."""
    service = Service()
    found, first = challenger(service), asked(service, "node")
    service.other = lambda body: {**body, "max_tokens": 3}
    second = {**CHAT, "max_tokens": 3}
    through = transport(service, nonce_by="node")
    ask(through, second)
    for checked in (first, through.checked[0]):
        audited = found.audit(checked, 1)
        if isinstance(audited.found, VerificationError):
            raise audited.found
    return found


def asked_again() -> object:
    """A node that was caught, and is asked the same once more by a client that takes any error for a lost
    connection.
    """
    service = lying()
    through = transport(service)
    with pytest.raises(VerificationError):
        ask(through, CHAT)
    service.change = lambda sent: sent
    return ask(through, CHAT)


def spot_checked(*, wait: bool, again: bool = False) -> Callable[[], object]:
    """A false opening."""

    def attack() -> object:
        service = Service(open=lambda node, call: node.open(*call)[:-7])
        checks = SpotChecks(challenger(service), 1, cells=1, wait=wait)
        through = ProofTransport(BASE, model().card, inner=service.transport(httpx2), spot_checks=checks)
        found = ask_open(through, CHAT)
        if again:
            with pytest.raises(VerificationError):
                through.close()
            found = ask_open(through, {**CHAT, "seed": 1})
        return found

    return attack


def marked() -> object:
    """A stream that a node ends by an error, to a client that heeds nothing but the end mark."""
    found = ask(transport(Service(rewrite=lambda d: [d[0], ERROR, d[-1]])), STREAM)
    if b"[DONE]" not in found:
        raise VerificationError(1, "the stream did not end well")
    return found


def ask_open(through: ProofTransport, body: dict[str, Any]) -> bytes:
    """Ask, and leave the transport open."""
    data: bytes = httpx2.Client(transport=through).post(BASE + "/chat/completions", json=body).content
    return data


MUTANTS: dict[str, Mutant] = {
    # the form of a stream
    "endless stream": Mutant(
        "client/events:Events.feed: 1: the stream of an answer has more than {} bytes",
        never("events", "self._seen > self._total"),
        feeding(b":\n" * 30, total=50),
    ),
    "endless line": Mutant(
        "client/events:Events.feed: 1: a line of an event stream has more than {} bytes",
        never("events", "len(self._buffer) > self._line"),
        feeding(b"data: " + b"x" * 20, line=10),
    ),
    "long line": Mutant(
        "client/events:Events._take: 1: a line of an event stream has more than {} bytes",
        never("events", "len(line) > self._line"),
        feeding(b"data: " + b"x" * 20 + b"\n\n", line=10),
    ),
    "carriage return in a line": Mutant(
        "client/events:Events._take: 1: a line of an event stream holds a carriage return",
        never("events", 'b"\\r" in line'),
        feeding(b"data: a\rdata: b\n\n"),
    ),
    "event of another name": Mutant(
        "client/events:Events._take: 1: an event of an answer has another field than one of data",
        never("events", 'name != b"data" or self._data is not None'),
        feeding(b"event: x\ndata: {}\n\n"),
    ),
    "end inside an event": Mutant(
        "client/events:Events.end: 1: the stream of an answer ends inside an event",
        never("events", "self._buffer or self._data is not None"),
        ending(b"data: [DO"),
    ),
    "stream after its end mark": Mutant(
        "client/sources:Streamed._arrived: 1: the stream of an answer goes on after its end mark",
        never("sources", "self._done"),
        streamed(lambda d: [*d, d[-1]]),
    ),
    # what the events say
    "answer after an error": Mutant(
        "client/exchange:Exchange.event: 1: the stream of an answer goes on after its error",
        Edit("client.exchange", "if self._stream is None or self._refused:", "if self._stream is None:"),
        streamed(lambda d: [d[0], ERROR, *d[1:]]),
    ),
    "error after the answer": Mutant(
        "client/exchange:Exchange._refusal: 1: an answer and an error in one",
        never("exchange", 'sent.keys() != {"error"} or self._ended'),
        streamed(lambda d: [*d[:-1], ERROR, d[-1]]),
    ),
    "error that is none": Mutant(
        "client/events:require_error: 1: an error of a stream that does not say what it is",
        never("events", "not (isinstance(message, str) and message.strip())"),
        streamed(lambda d: [d[0], b'data: {"error": null}\n\n', d[-1]]),
    ),
    "end mark after an error": Mutant(
        None,
        Edit("client.exchange", "            return False\n", "            return done\n"),
        marked,
    ),
    "end before the answer's": Mutant(
        "client/exchange:Exchange.end: 1: the stream of an answer ends before the answer is complete",
        never("exchange", "not (self._ended and done)"),
        streamed(lambda d: d[:2]),
    ),
    "stream without a receipt": Mutant(
        None,
        Edit(
            "client.exchange", "            if self._rules.require or FIELD in sent:", "            if False:"
        ),
        told("no receipt", stream=True),
    ),
    "answer without a receipt": Mutant(
        None,
        never("exchange", "self._rules.require or FIELD in self._response"),
        told("no receipt"),
    ),
    "another text in a stream": Mutant(
        None,
        Edit("client.exchange", "self._stream.check(self.served.card, requests, claims)", "pass"),
        told("changed text", stream=True),
    ),
    "another text": Mutant(
        None,
        Edit(
            "client.exchange",
            "check_completion(self.served.card, self.call, requests, claims, response)",
            "pass",
        ),
        told("changed text"),
    ),
    "another day": Mutant(
        None,
        Edit(
            "client.exchange",
            "check_proofs(self._proofs, model_id=card.model_id, nonce=self.nonce, today=_today(), node=node)",
            "pass",
        ),
        lambda: ask(transport(Service(change=dated)), CHAT),
    ),
    "day on which the question cannot be asked": Mutant(
        "client/exchange:Exchange._claims: 4: the question cannot be asked on the node's day: {}",
        Edit(
            "client.exchange",
            """raise VerificationError(4, f"the question cannot be asked on the node's day: {e}") from e""",
            "raise",
        ),
        another_day,
        InputError,
    ),
    # the head of an answer, and its body
    "another status": Mutant(
        "client/heads:require_answer: 1: an answer with another status",
        never("heads", "response.status_code != 200"),
        answering("/chat", lambda found: (203, *found[1:])),
    ),
    "another form": Mutant(
        "client/heads:require_answer: 1: an answer of another form",
        never("heads", "kind != wanted"),
        told("another form"),
    ),
    "stream in a coding": Mutant(
        "client/heads:require_answer: 1: an answer in the coding {}, which was not asked for",
        never("heads", 'coding not in ("", "identity") and (own or stream)'),
        told("a coding that was not asked for", stream=True),
    ),
    "unknown coding": Mutant(
        "client/inflate:Inflater.__init__: 1: a response in the coding {}, which was not asked for",
        never("inflate", 'coding not in ("", "identity", *CODINGS)'),
        told("a coding that was not asked for", nonce_by="node"),
    ),
    "more after a compressed body": Mutant(
        "client/inflate:Inflater.feed: 1: a compressed response goes on after its end",
        never("inflate", "self._zlib.unused_data"),
        inflating(GZIP + GZIP),
    ),
    "body that is not compressed": Mutant(
        "client/inflate:Inflater.feed: 1: a response is not compressed as it says: {}",
        Edit(
            "client.inflate",
            'raise VerificationError(1, f"a response is not compressed as it says: {e}") from None',
            "raise",
        ),
        inflating(b"{}" * 9),
        zlib.error,
    ),
    "body that grows beyond its limit": Mutant(
        "client/inflate:Inflater.feed: 1: the body of a response is larger than its limit",
        never("inflate", "self._left < 0"),
        inflating(gzip.compress(bytes(101))),
    ),
    "half of a compressed body": Mutant(
        "client/inflate:Inflater.end: 1: a compressed response ends too early",
        never("inflate", "self._zlib is not None and not self._zlib.eof"),
        inflating(GZIP[:-9], end=True),
    ),
    "body beyond its limit": Mutant(
        "client/flow:_Gathered.add: 1: the body of a response has more than {} bytes",
        never("flow", "len(self.data) > self._limit"),
        lambda: _Gathered(REQUEST, 10, 60).add(bytes(11)),
    ),
    "body that needs no proof, beyond its limit": Mutant(
        "client/sources:Bounded._counted: 1: the body of a response is larger than its limit",
        never("sources", "self._left < 0"),
        lambda: Bounded(SimpleNamespace(), 10, Clock(REQUEST))._counted(bytes(11)),
    ),
    # what a node publishes
    "card that the node does not publish": Mutant(
        "client/published:fetch_card: 3: the node does not publish the card of the model",
        never("published", "found != 200"),
        answering("/proofs/card/", lambda found: (404, *found[1:])),
    ),
    "terms that are hidden behind an error": Mutant(
        "client/published:fetch_terms: 1: the node does not publish its terms",
        never("published", "found not in (200, 404)"),
        answering("/proofs/terms", lambda found: (410, {}, b""), terms=None),
    ),
    "terms that are not published": Mutant(
        "client/terms:TermsBook.required: 5: the receipt names terms that the node does not publish",
        never("terms", "self._follow and digest"),
        told("terms that are none"),
    ),
    # challenges
    "opening beyond its size": Mutant(
        "client/challenger:Challenger._try: 1: an opening has more than {} bytes",
        never("challenger", "size > most"),
        receiving(most=10),
    ),
    "opening that comes late": Mutant(
        "client/challenger:Challenger._try: 10: no whole opening by the deadline",
        Edit(
            "client.challenger",
            "                    if time.monotonic() > until:\n",
            "                    if False:\n",
        ),
        receiving(deadline=0.2, late=0.4),
    ),
    "nonce that the node chose twice": Mutant(
        "client/challenger:Challenger._claim: 4: the node chose a nonce that belongs to another question",
        Edit(
            "client.challenger",
            'raise VerificationError(4, "the node chose a nonce that belongs to another question") from e',
            "raise",
        ),
        nonce_twice,
        MismatchError,
    ),
    "answer to a question that was contradicted just now": Mutant(
        None,
        never("kept", "error is not None and monotonic() - when < SAME_QUESTION_SECONDS"),
        asked_again,
    ),
    "false opening, found on the spot": Mutant(
        None,
        Edit("client.exchange", "raise self._audited.found", "pass"),
        spot_checked(wait=True),
    ),
    "question after a false opening, found in the background": Mutant(
        None,
        Edit("client.transport", "self._checking.require_clean()", "pass"),
        spot_checked(wait=False, again=True),
    ),
}
