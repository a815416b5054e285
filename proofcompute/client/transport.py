"""Check every answer of a node below an unchanged client of OpenAI's interface.

:class:`ProofTransport` is a transport of httpx and httpx2 that wraps another one. It sends a fresh nonce with
each question, derives from the body what had to be computed, and checks the answer's receipt, text, finish
reason and usage before the client sees the end of the answer. What a receipt says is thereby *receipted*, not
yet computed: an audit of its cells shows that (:mod:`proofcompute.client.challenger`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from proofcompute.client import libraries
from proofcompute.client.exchange import Checked, Exchange, Rules
from proofcompute.client.flow import Body, Call, Clock, Flow, Read, Send, run, run_async
from proofcompute.client.inflate import CODINGS, Inflater
from proofcompute.client.limits import (
    ANSWER_SECONDS,
    CARD_SECONDS,
    KEPT_ANSWERS,
    KEPT_BYTES,
    MAX_ERROR,
    MAX_FAILURES,
    SAME_QUESTION_SECONDS,
)
from proofcompute.client.pins import Models, Pins
from proofcompute.client.sources import Bounded, Streamed, Whole
from proofcompute.client.terms import TermsBook
from proofcompute.errors import InputError, VerificationError
from proofcompute.errors.arguments import StrPath
from proofcompute.limits import MAX_CARD
from proofcompute.logs import service_log, short
from proofcompute.openai import NONCE_HEADER, Endpoint

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Base(  # type: ignore[misc]
        httpx.BaseTransport, httpx.AsyncBaseTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport
    ):
        """What type checkers see; both libraries look at a transport's methods only."""
else:
    _Base = object

__all__ = ["ProofTransport"]

_log = service_log(__name__)
_ANSWERS: Final[Mapping[str, Endpoint]] = {"/chat/completions": "chat", "/completions": "completions"}
OPEN: Final = "/proofs/open"
_PORTS: Final = {"http": 80, "https": 443}


class ProofTransport(_Base):
    """A transport under which each answer of a node is checked.

    Args:
        base_url: address of the node's interface, such as ``http://host:8000/v1``. Requests to any other
            address are refused.
        models: the pinned model: its card or its model id, or one of these for each name of a model that
            bodies may have. Cards of pinned ids are fetched from the node.
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
        on_checked: is called with each checked answer, in the thread that reads it.
        keep: the most checked answers in :attr:`checked`.

    Raises InputError for arguments that cannot be used. Requests raise VerificationError for contradictions
    and InputError for a question that cannot be proved; neither is an error of the HTTP library, so that
    clients do not mistake it for a lost connection and ask again.
    """

    def __init__(
        self,
        base_url: str,
        models: Models,
        *,
        inner: Any = None,
        node: bytes | None = None,
        terms: bool | bytes = True,
        retention: int = 0,
        require: bool = True,
        on_failure: Literal["raise", "record"] = "raise",
        nonce_by: Literal["client", "node"] = "client",
        cache: StrPath | None = None,
        on_checked: Callable[[Checked], None] | None = None,
        keep: int = KEPT_ANSWERS,
    ) -> None:
        if on_failure not in ("raise", "record") or nonce_by not in ("client", "node"):
            raise InputError('on_failure is "raise" or "record", and nonce_by "client" or "node"')
        self._origin, self._path = _address(base_url)
        self.base_url = base_url.rstrip("/")
        self._pins = Pins(models, cache)
        self._terms = TermsBook(node, terms)
        self._rules = Rules(node, self._terms, retention, require=require)
        self._record, self._own_nonce, self._hook = on_failure == "record", nonce_by == "client", on_checked
        self._inner, self._async_inner = inner, inner
        self._lock = Lock()
        self.checked: deque[Checked] = deque(maxlen=keep)
        """The newest answers that were checked, for later audits; bounded in number and bytes."""
        self.failures: deque[VerificationError] = deque(maxlen=MAX_FAILURES)
        """The newest contradictions."""
        self._kept = 0
        self._refused: OrderedDict[bytes, tuple[VerificationError, float]] = OrderedDict()

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
        """Close the inner transport and the process that renders templates."""
        self._pins.close()
        if self._inner is not None:
            self._inner.close()

    async def aclose(self) -> None:
        """Close the inner transport of an asynchronous client and the process that renders templates."""
        self._pins.close()
        if self._async_inner is not None:
            await self._async_inner.aclose()

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
        endpoint = self._endpoint(request)
        if endpoint is None:
            response = yield Send(request)
            return _passed(request, response)
        body = yield Body(request)
        question = hashlib.sha256(b"%s\n%s" % (request.url.raw_path, body)).digest()
        self._require_new(question)
        exchange = Exchange(body, endpoint, self._rules, self._nonce(request), self._remember)
        model_id = self._pins.model_id(exchange.call.model)

        def failed(error: VerificationError) -> None:
            self._fail(question, error)

        try:
            served = yield Call(lambda: self._pins.served(model_id))
            if served is None:
                served = yield from self._fetch_card(request, model_id)
            if self._terms.wanted:
                yield from self._fetch_terms(request)
        except VerificationError as e:
            failed(e)
            if not self._record:
                raise
            return _passed(request, (yield Send(self._asking(request, body, exchange.nonce))))
        yield Call(lambda: exchange.prepare(served))
        clock = Clock(request)
        response = yield Send(self._asking(request, body, exchange.nonce))
        if response.status_code >= 400:
            return _passed(request, response)
        try:
            self._require_answer(response, stream=exchange.call.stream)
        except VerificationError as e:
            failed(e)
            if not self._record:
                raise
            return _passed(request, response)
        library, coding = libraries.library_of(request), response.headers.get("content-encoding", "")
        if exchange.call.stream:
            source = Streamed(
                exchange,
                response,
                inner,
                clock,
                lambda: self._fetch_terms(request),
                failed,
                record=self._record,
            )
            kind = "text/event-stream; charset=utf-8"
            return libraries.response(library, response, source, content_type=kind)
        found = b""
        try:
            data = yield Read(response, request, exchange.most_whole, ANSWER_SECONDS)
            inflater = Inflater(coding, exchange.most_whole)
            found = inflater.feed(data)
            inflater.end()
            yield Call(lambda: exchange.whole(found))
            if exchange.lacks_terms:
                yield from self._fetch_terms(request)
            found = yield Call(exchange.released)
        except VerificationError as e:
            failed(e)
            if not self._record or not found:  # a body that was not read cannot be passed on
                raise
        length = str(len(found))
        return libraries.response(
            library, response, Whole(found), content_type="application/json", content_length=length
        )

    def _endpoint(self, request: Any) -> Endpoint | None:
        """Return which interface a request asks; None if its response needs no receipt.

        Raises InputError for an address outside of the node's interface, to which a redirect or a wrong base
        URL may lead, and for a question that has no receipt.
        """
        url = request.url
        path = url.raw_path.decode("ascii").partition("?")[0]
        inside = path.startswith(self._path + "/") and "/." not in path
        if (url.scheme, url.host, url.port or _PORTS.get(url.scheme), inside) != (*self._origin, True):
            raise InputError(f"a request outside of {self.base_url}, whose answers alone are checked")
        endpoint = _ANSWERS.get(path.removeprefix(self._path))
        if request.method == "POST" and endpoint is not None:
            return endpoint
        if (
            request.method in ("GET", "HEAD", "OPTIONS")
            or path == self._path + OPEN
            or not self._rules.require
        ):
            return None
        raise InputError(f"{request.method} {path}: answers of this interface have no receipts")

    def _require_new(self, question: bytes) -> None:
        """Raise the contradiction of an earlier answer to the same question again, if it came just now.

        Some clients take any error for a lost connection and ask again at once, so that a node that was
        caught would have several attempts, and its last answer alone would be seen.
        """
        with self._lock:
            error, when = self._refused.get(question, (None, 0.0))
        if error is not None and time.monotonic() - when < SAME_QUESTION_SECONDS:
            raise error.with_traceback(None)

    def _nonce(self, request: Any) -> bytes | None:
        if NONCE_HEADER in request.headers or "content-encoding" in request.headers:
            raise InputError("the transport draws the nonce itself, and sends bodies as they are")
        return secrets.token_bytes(32) if self._own_nonce else None

    def _asking(self, request: Any, body: bytes, nonce: bytes | None) -> Any:
        """Return the request as it is sent."""
        if nonce is not None:
            return libraries.outgoing(
                request, body, {"accept-encoding": "identity", NONCE_HEADER: nonce.hex()}
            )
        wanted = {c.strip().partition(";")[0] for c in request.headers.get("accept-encoding", "").split(",")}
        usual = {} if wanted <= {*CODINGS, "identity", ""} else {"accept-encoding": ", ".join(CODINGS)}
        return libraries.outgoing(request, body, usual)

    def _require_answer(self, response: Any, *, stream: bool) -> None:
        """Raise VerificationError (step 1) unless a response can be an answer of the form asked for."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "text/event-stream" if stream else "application/json"
        coding = response.headers.get("content-encoding", "").strip().lower()
        if response.status_code != 200:
            raise VerificationError(
                1, "the node sends its client elsewhere", expected=200, found=response.status_code
            )
        if kind != wanted:
            raise VerificationError(1, "an answer of another form", expected=wanted, found=kind[:80])
        if coding not in ("", "identity") and (self._own_nonce or stream):
            raise VerificationError(1, f"an answer in the coding {coding[:40]!r}, which was not asked for")

    # -- what the node publishes ---------------------------------------------------------------------------
    def _fetch_card(self, request: Any, model_id: bytes) -> Flow:
        response = yield Send(libraries.fetching(request, f"{self.base_url}/proofs/card/{model_id.hex()}"))
        data = yield Read(response, request, MAX_CARD, CARD_SECONDS)
        if response.status_code != 200:
            raise VerificationError(
                3, "the node does not publish the card of the model", expected=200, found=response.status_code
            )
        return (yield Call(lambda: self._pins.learn(model_id, data)))

    def _fetch_terms(self, request: Any) -> Flow:
        response = yield Send(libraries.fetching(request, f"{self.base_url}/proofs/terms"))
        data = yield Read(response, request, MAX_ERROR, CARD_SECONDS)
        found = response.status_code
        if found not in (200, 404):
            raise VerificationError(1, "the node does not publish its terms", expected=200, found=found)
        self._terms.learn(data if found == 200 else None)

    # -- what is kept --------------------------------------------------------------------------------------
    def _remember(self, checked: Checked) -> None:
        with self._lock:
            if len(self.checked) == self.checked.maxlen:
                self._drop()
            self.checked.append(checked)
            self._kept += checked.nbytes
            while self._kept > KEPT_BYTES and len(self.checked) > 1:
                self._drop()
        if self._hook is not None:
            self._hook(checked)

    def _drop(self) -> None:
        if self.checked:
            self._kept -= self.checked.popleft().nbytes

    def _fail(self, question: bytes, error: VerificationError) -> None:
        _log.warning("contradicted at step %d by node %s", error.step, short(error.node))
        with self._lock:
            self.failures.append(error)
            if not self._record:
                self._refused[question] = error, time.monotonic()
            if len(self._refused) > MAX_FAILURES:
                self._refused.popitem(last=False)


def _passed(request: Any, response: Any) -> Any:
    """Return a response that needs no receipt, with its body bounded."""
    if response.status_code < 400 and request.method == "GET":
        limit = MAX_CARD
    else:
        limit = MAX_ERROR
    return libraries.bounded(
        libraries.library_of(request), response, Bounded(response, limit, Clock(request))
    )


def _address(base_url: str) -> tuple[tuple[str, str, int], str]:
    """Return scheme, host and port of a base URL, and its path without a slash at its end."""
    from urllib.parse import urlsplit

    try:
        found = urlsplit(base_url)
        port = found.port
    except ValueError as e:
        raise InputError(f"the base URL cannot be read: {e}") from None
    if found.scheme not in _PORTS or not found.hostname or found.query or found.fragment or found.username:
        raise InputError("a base URL is like http://host:8000/v1")
    return (found.scheme, found.hostname, port or _PORTS[found.scheme]), found.path.rstrip("/")
