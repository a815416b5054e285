"""Ask a node the questions of an audit, as the client does that a canary looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import SystemRandom
from types import ModuleType
from typing import Final

from proofcompute.client.budget import Meter
from proofcompute.client.canaries import ENDPOINTS, Canary
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.flow import run
from proofcompute.client.line import Line
from proofcompute.client.lookalike import ATTEMPTS, TIMES, retried, wait_before
from proofcompute.client.pins import Pins
from proofcompute.client.published import fetch_terms
from proofcompute.client.terms import TermsBook
from proofcompute.client.transport import ProofTransport
from proofcompute.errors import ServiceError, VerificationError
from proofcompute.openai.proof import NonceBy

__all__ = ["Asker", "Came"]

_SHOWN: Final = 300
"""Characters of an error that are repeated."""


@dataclass(frozen=True, eq=False)
class Came:
    """What came of one canary besides the checked answers."""

    contradiction: Contradiction | VerificationError | None = None
    """What contradicts the answer."""
    said: str = ""
    """Why there is no answer, as far as that is known; the node's own words in part."""
    lost: int = 0
    """Attempts that gave no answer and that the node may have worked on."""


class Asker:
    """Asks one node, and checks what comes: receipts first, and terms when all canaries are answered.

    Args:
        base_url: address of the node's interface.
        pins: the pinned model.
        library: the module httpx or httpx2.
        line: carries the requests.
        meter: holds the budget, which pauses count against.
        node: public key that must sign; None: any.
        key: API key, or None.
    """

    def __init__(
        self,
        base_url: str,
        pins: Pins,
        *,
        library: ModuleType,
        line: Line,
        meter: Meter,
        node: bytes | None = None,
        key: str | None = None,
    ) -> None:
        self._library, self._line, self._key, self._meter = library, line, key, meter
        self._draw = SystemRandom()
        self._book = TermsBook(node, terms=True)
        self.published: bytes | None = None
        """What the node publishes as its terms, empty if it has none; None: it was not asked yet."""
        self._keep: Callable[[Checked], None] = _ignored
        self._found: list[Contradiction] = []
        self._transports: Mapping[NonceBy, ProofTransport] = {
            by: ProofTransport(
                base_url,
                pins,
                inner=line,
                node=node,
                terms=False,
                nonce_by=by,
                on_checked=lambda checked: self._keep(checked),
                on_contradiction=self._note,
                keep=0,
            )
            for by in ("client", "node")
        }
        self._url = self._transports["client"].base_url

    def close(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            transport.close()

    def ask(self, canary: Canary, keep: Callable[[Checked, int], None], attempts: int = ATTEMPTS) -> Came:
        """Send a canary, again where the client that it looks like does that, and check what comes.

        Args:
            canary: what to send.
            keep: is called with each answer as soon as it is checked, and with the attempts before that were
                lost.
            attempts: how often to ask at most.

        A contradiction is never asked again.
        """
        lost, answers, tried = 0, 0, _Tried()

        def kept(checked: Checked) -> None:
            nonlocal answers
            answers += 1
            keep(checked, lost)

        self._keep, self._found = kept, []
        for attempt in range(attempts):
            try:
                tried = self._once(canary, attempt)
            except VerificationError as e:
                return Came(self._found[0] if self._found else e, lost=lost if answers else lost + 1)
            if answers:
                break
            lost += tried.worked
            wait = None if tried.final else wait_before(attempt + 1, tried.status, tried.headers, self._draw)
            if wait is None or attempt + 1 == attempts:
                break
            self._meter.pause(wait)
        return Came(said="" if answers else tried.said, lost=lost)

    def _once(self, canary: Canary, attempt: int) -> _Tried:
        """Send a canary once. Raises VerificationError if what comes is contradicted."""
        transport, library = self._transports[canary.nonce_by], self._library
        request = library.Request(
            "POST",
            self._url + ENDPOINTS[canary.endpoint],
            headers=list(retried(canary.headers, attempt)),
            content=canary.body,
            extensions={"timeout": dict(TIMES)},
        )
        response = None
        try:
            response = transport.handle_request(request)
            body = b"".join(response.stream)
        except library.TransportError as e:
            unsent = isinstance(e, library.ConnectError | library.ConnectTimeout)
            # a stream that breaks off is asked for again by no client
            return _Tried(said=f"{type(e).__name__}: {e}", worked=not unsent, final=response is not None)
        except ServiceError as e:
            return _Tried(said=str(e), final=True)
        finally:
            if response is not None:
                response.close()
        status = response.status_code
        if status < 400:
            return _Tried(status, said="the answer ended with an error", worked=True, final=True)
        said = f"status {status}: {body[:_SHOWN].decode('utf-8', 'replace')}"
        return _Tried(status, {k.lower(): v for k, v in response.headers.items()}, said)

    def learn(self, terms: bytes) -> None:
        """Take terms that the node published before."""
        self._book.learn(terms)

    def under_terms(self, checked: Checked) -> Checked:
        """Return an answer with the terms that its receipt names, if the node publishes them.

        Call it when all canaries are answered: most clients never ask for terms. Raises VerificationError if
        what the node publishes is not its own (steps 1 to 3), or if it publishes terms and the receipt names
        none (5), so that no deadline would bind.
        """
        digest = checked.claim.receipt.terms_digest
        if self.published is None and self._book.named(digest) is None:
            self._fetch()
        named = self._book.named(digest)
        if named is None and not digest and self._book.latest is not None:
            raise VerificationError(5, "the receipt names none of the terms that the node publishes")
        return checked if named is None else replace(checked, terms=named)

    def _fetch(self) -> None:
        headers = {} if self._key is None else {"authorization": f"Bearer {self._key}"}
        request = self._library.Request(
            "GET", self._url, headers=headers, extensions={"timeout": dict(TIMES)}
        )
        try:
            run(fetch_terms(request, self._url, self._book), self._line)
        except self._library.TransportError:
            return
        latest = self._book.latest
        self.published = b"" if latest is None else latest.encode()

    def _note(self, found: Contradiction) -> None:
        self._found.append(found)


@dataclass(frozen=True)
class _Tried:
    """What came of one attempt, besides checked answers."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    said: str = ""
    worked: bool = False
    """Whether the node may have worked on it."""
    final: bool = False
    """Whether it is not asked again."""


def _ignored(checked: Checked) -> None:
    """Take no answer."""
