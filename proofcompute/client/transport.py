"""Check every answer of a node below an unchanged client of OpenAI's interface.

:class:`ProofTransport` is a transport of httpx and httpx2 that wraps another one. It sends a fresh nonce with
each question, derives from the body what had to be computed, and checks the answer's receipt, text, finish
reason and usage before the client sees the end of the answer. What a receipt says is thereby *receipted*, not
yet computed: an audit of its cells shows that (:mod:`proofcompute.client.challenger`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from proofcompute.client import libraries
from proofcompute.client.checked import Checked, Rules
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.exchange import Exchange
from proofcompute.client.flow import Body, Call, Clock, Flow, Read, Send, run, run_async
from proofcompute.client.heads import asking, drawn_nonce, require_answer
from proofcompute.client.inflate import Inflater
from proofcompute.client.interface import Interface
from proofcompute.client.kept import Kept, Refused
from proofcompute.client.limits import ANSWER_SECONDS, KEPT_ANSWERS, KEPT_BYTES, MAX_ERROR, MAX_FAILURES
from proofcompute.client.pins import Models, Pins
from proofcompute.client.published import fetch_card, fetch_terms
from proofcompute.client.relayed import Relayed, relayed_of
from proofcompute.client.sources import Bounded, Streamed, Whole
from proofcompute.client.spotchecks import Checking, SpotChecks
from proofcompute.client.terms import TermsBook
from proofcompute.errors import InputError, VerificationError
from proofcompute.errors.arguments import StrPath
from proofcompute.limits import MAX_CARD, MAX_EVIDENCE_OPENING
from proofcompute.logs import service_log, short

if TYPE_CHECKING:
    import httpx
    import httpx2

    from proofcompute.client.challenger import Audited

    class _Base(  # type: ignore[misc]
        httpx.BaseTransport, httpx.AsyncBaseTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport
    ):
        """What type checkers see; both libraries look at a transport's methods only."""
else:
    _Base = object

__all__ = ["ProofTransport"]

_log = service_log(__name__)


class ProofTransport(_Base):
    """A transport under which each answer of a node is checked.

    Args:
        base_url: address of the node's interface, such as ``http://host:8000/v1``. Requests to any other
            address are refused.
        models: the pinned model: its card or its model id, or one of these for each name of a model that
            bodies may have. Cards of pinned ids are fetched from the node. Or the pins of other transports.
        inner: the transport that sends requests; None: the library's own, made when it is first needed.
        node: public key that must sign; None: any key.
        terms: whether receipts must name the terms that the node publishes (they are fetched), or the
            node's signed terms, encoded, which receipts must name; False: neither is looked at.
        retention: seconds for which receipts must promise that challenges are answered.
        require: whether an answer without a receipt is a contradiction. If not, it is passed on unchecked.
        on_failure: what to do with a contradiction: raise it, or record it and pass the answer on.
        nonce_by: whether this client chooses the nonce. If the node does, it can choose among many draws of a
            sampled answer, and send an answer that it gave before.
        cache: directory in which cards are kept.
        spot_checks: which answers are challenged before their end is passed on, or afterwards; None: none.
        on_checked: is called with each checked answer, in the thread that reads it.
        on_contradiction: is called with each contradiction, before the client's user gets it; one that is
            found in the background, in a thread of its own.
        keep: the most checked answers in :attr:`checked`.

    Raises InputError for arguments that cannot be used. Requests raise VerificationError for contradictions
    and InputError for a question that cannot be proved; neither is an error of the HTTP library, so that
    clients do not mistake it for a lost connection and ask again.
    """

    def __init__(
        self,
        base_url: str,
        models: Models | Pins,
        *,
        inner: Any = None,
        node: bytes | None = None,
        terms: bool | bytes = True,
        retention: int = 0,
        require: bool = True,
        on_failure: Literal["raise", "record"] = "raise",
        nonce_by: Literal["client", "node"] = "client",
        cache: StrPath | None = None,
        spot_checks: SpotChecks | None = None,
        on_checked: Callable[[Checked], None] | None = None,
        on_contradiction: Callable[[Contradiction], None] | None = None,
        keep: int = KEPT_ANSWERS,
    ) -> None:
        if on_failure not in ("raise", "record") or nonce_by not in ("client", "node"):
            raise InputError('on_failure is "raise" or "record", and nonce_by "client" or "node"')
        self._interface = Interface(base_url)
        self.base_url = self._interface.url
        self._pins = models if isinstance(models, Pins) else Pins(models, cache)
        self._terms = TermsBook(node, terms)
        self._rules = Rules(node, self._terms, retention, require=require)
        self._record, self._own_nonce = on_failure == "record", nonce_by == "client"
        self._on_checked, self._on_contradiction = on_checked, on_contradiction
        self._inner, self._async_inner = inner, inner
        self._refused = Refused()
        self._checking = None if spot_checks is None else Checking(spot_checks, stops=not self._record)
        if spot_checks is not None and self._pins.model_ids != {spot_checks.model_id}:
            raise InputError("the challenger of the spot checks holds another model than the pinned one")
        self.checked: Kept[Checked] = Kept(keep, KEPT_BYTES)
        """The newest answers that were checked, for later audits; bounded in number and bytes."""
        self.contradictions: Kept[Contradiction] = Kept(MAX_FAILURES, KEPT_BYTES)
        """The newest contradictions, with what shows them to others; bounded in number and bytes."""

    # -- what httpx calls ----------------------------------------------------------------------------------
    def handle_request(self, request: Any) -> Any:
        """Send a request of a synchronous client."""
        if self._inner is None:
            self._inner = libraries.library_of(request).HTTPTransport()
        return run(self._handle(request, self._inner), self._inner)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of an asynchronous client."""
        if self._async_inner is None:
            self._async_inner = libraries.library_of(request).AsyncHTTPTransport()
        return await run_async(self._handle(request, self._async_inner), self._async_inner)

    def close(self) -> None:
        """Close the inner transport and the process that renders templates, and wait for all verdicts.

        Raises the contradiction if spot checks in the background have found one.
        """
        self._pins.close()
        if self._inner is not None:
            self._inner.close()
        if self._checking is not None:
            self._checking.settle()

    async def aclose(self) -> None:
        """Close as :meth:`close`, with the inner transport of an asynchronous client."""
        self._pins.close()
        if self._async_inner is not None:
            await self._async_inner.aclose()
        if self._checking is not None:
            from anyio.to_thread import run_sync

            await run_sync(self._checking.settle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    # -- one request ---------------------------------------------------------------------------------------
    def _handle(self, request: Any, inner: Any) -> Flow:
        """Answer one request of the client: the whole procedure, but for the body of a stream."""
        endpoint = self._interface.endpoint(request, require=self._rules.require)
        if endpoint is None:
            response = yield Send(request)
            return _passed(request, response, opens=self._interface.opens(request))
        body = yield Body(request)
        question = hashlib.sha256(b"%s\n%s" % (request.url.raw_path, body)).digest()
        if self._checking is not None:
            self._checking.require_clean()
        self._refused.require_new(question)
        relayed = relayed_of(request)
        nonce = drawn_nonce(request, own=self._own_nonce) if relayed is None else relayed.nonce

        def contradicted(audited: Audited) -> None:
            if isinstance(audited.found, VerificationError):
                self._fail(question, exchange.contradicted(audited.found, b"", audited), relayed)

        exchange = Exchange(
            body, endpoint, self._rules, nonce, lambda checked: self._take(checked, contradicted, relayed)
        )
        model_id = self._pins.model_id(exchange.call.model)

        def failed(error: VerificationError, came: bytes = b"") -> None:
            self._fail(question, exchange.contradicted(error, came), relayed)

        try:
            served = self._pins.known(model_id) or (yield Call(lambda: self._pins.served(model_id)))
            if served is None:
                served = yield from fetch_card(request, self.base_url, self._pins, model_id)
            if self._terms.wanted:
                yield from fetch_terms(request, self.base_url, self._terms)
        except VerificationError as e:
            failed(e)
            if not self._record:
                raise
            return _passed(request, (yield Send(asking(request, body, nonce))))
        # a client's question that cannot be proved is not sent; a gateway's node refuses one by itself, so no
        # first text waits for what is needed only when the receipt comes
        if relayed is None:
            yield Call(lambda: exchange.prepare(served))
        clock = Clock(request)
        meanwhile = None if relayed is None else partial(exchange.prepare, served)
        response = yield Send(asking(request, body, nonce), meanwhile)
        if response.status_code >= 400:
            return _passed(request, response)
        try:
            require_answer(response, stream=exchange.call.stream, own=nonce is not None)
        except VerificationError as e:
            failed(e)
            if not self._record:
                raise
            return _passed(request, response)
        if not exchange.call.stream:
            return (yield from self._whole(request, response, exchange, clock, failed))
        source = Streamed(
            exchange,
            response,
            inner,
            clock,
            lambda: fetch_terms(request, self.base_url, self._terms),
            failed,
            record=self._record,
        )
        kind = "text/event-stream; charset=utf-8"
        return libraries.response(libraries.library_of(request), response, source, content_type=kind)

    def _whole(
        self,
        request: Any,
        response: Any,
        exchange: Exchange,
        clock: Clock,
        failed: Callable[[VerificationError, bytes], None],
    ) -> Flow:
        """Answer with a body that is not a stream."""
        found = b""
        try:
            data = yield Read(response, request, exchange.most_whole, ANSWER_SECONDS)
            exchange.came(clock.seconds)
            inflater = Inflater(response.headers.get("content-encoding", ""), exchange.most_whole)
            came = found = inflater.feed(data)
            inflater.end()
            yield Call(lambda: exchange.whole(came))
            if exchange.lacks_terms:
                yield from fetch_terms(request, self.base_url, self._terms)
            found = yield Call(exchange.released)
        except VerificationError as e:
            failed(e, found)
            if not self._record or not found:  # a body that was not read cannot be passed on
                raise
        described = {"content_type": "application/json", "content_length": str(len(found))}
        return libraries.response(libraries.library_of(request), response, Whole(found), **described)

    # -- what is kept --------------------------------------------------------------------------------------
    def _take(
        self, checked: Checked, contradicted: Callable[[Audited], None], relayed: Relayed | None
    ) -> Audited | None:
        """Keep a checked answer, and return an audit that contradicts it, if there is one by now."""
        self.checked.add(checked)
        for told in (self._on_checked, None if relayed is None else relayed.on_checked):
            if told is not None:
                told(checked)
        return None if self._checking is None else self._checking.take(checked, contradicted)

    def _fail(self, question: bytes, found: Contradiction, relayed: Relayed | None) -> None:
        error = found.error
        _log.warning("contradicted at step %d by node %s", error.step, short(error.node))
        self.contradictions.add(found)
        if not self._record:
            self._refused.add(question, error)
        for told in (self._on_contradiction, None if relayed is None else relayed.on_contradiction):
            if told is not None:
                told(found)


def _passed(request: Any, response: Any, *, opens: bool = False) -> Any:
    """Return a response that needs no receipt, with its body bounded."""
    limit = MAX_ERROR
    if response.status_code < 400 and (opens or request.method == "GET"):
        limit = MAX_EVIDENCE_OPENING if opens else MAX_CARD
    return libraries.bounded(
        libraries.library_of(request), response, Bounded(response, limit, Clock(request))
    )
