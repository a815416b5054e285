"""Check one question and its answer, as the parts of the answer arrive, without any input or output.

What had to be computed follows from the question's own bytes and a few values that the answer states (nonce,
node, day). The answer's receipts must pass steps 1 to 5 for it, and everything that a client reads in the
answer must follow from the receipts (:mod:`proofcompute.openai`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from datetime import date as Date  # "date" is an argument's name here
from typing import TYPE_CHECKING, Final

from proofcompute.client.checked import Checked, Rules
from proofcompute.client.contradictions import Contradiction, Stated
from proofcompute.client.events import encoded, require_error, written
from proofcompute.client.limits import MAX_BODY, MAX_CHUNK, MAX_ENVELOPE
from proofcompute.client.pins import Served
from proofcompute.errors import InputError, VerificationError, about
from proofcompute.openai import (
    FIELD,
    Call,
    EmbeddingCall,
    Endpoint,
    Json,
    ProofField,
    StreamCheck,
    call_of,
    check_completion,
    check_embeddings,
    check_proofs,
    decode_proofs,
    embedding_call_of,
    read_json,
    read_response,
)
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.protocol.receipts import decoded
from proofcompute.verifier import check_receipt

if TYPE_CHECKING:
    from proofcompute.client.challenger import Audited

__all__ = ["Exchange"]

_ESCAPED: Final = 6
"""The most bytes that JSON takes for a byte of text."""
_TOKEN: Final = 8
"""The most bytes that an answer takes for a token besides its text: the token in a receipt, in base64."""

_NUMBER: Final = 40
"""The most bytes that an answer takes for a number of an embedding: in JSON, and in a receipt in base64."""


class Exchange:
    """One question and its answer.

    Args:
        body: the question, exactly as it is sent.
        endpoint: which interface it is sent to.
        rules: what receipts must satisfy.
        nonce: the client's nonce, or None if the node chooses it.
        checked: is called with each choice that was checked, and may return an audit that contradicts it.

    Raises InputError if the body is no question that a receipt can be checked for.
    """

    def __init__(
        self,
        body: bytes,
        endpoint: Endpoint,
        rules: Rules,
        nonce: bytes | None,
        checked: Callable[[Checked], Audited | None],
    ) -> None:
        sent = read_json(body, MAX_BODY)
        self.call: Call | EmbeddingCall = (
            embedding_call_of(sent) if endpoint == "embeddings" else call_of(sent, endpoint=endpoint)
        )
        self.nonce = nonce
        self._body, self._endpoint = body, endpoint
        self._rules, self._checked = rules, checked
        self._served: Served | None = None
        self._derived: dict[tuple[bytes, Date], tuple[Request, ...]] = {}
        self._response: Mapping[str, Json] | None = None
        streams = isinstance(self.call, Call) and self.call.stream
        self._stream = StreamCheck(self.call) if streams and isinstance(self.call, Call) else None
        self._held: list[Mapping[str, Json]] = []
        self._told: list[ProofField] = []
        self._proofs: tuple[ProofField, ...] = ()
        self._rejected: int | None = None
        self._audited: Audited | None = None
        self._ended = self._refused = False
        self._seconds: float | None = None
        self._doubt: VerificationError | None = None

    def prepare(self, served: Served) -> None:
        """Take the model that must answer, and derive the requests as far as that is possible now.

        Raises InputError if the question does not fit the model.
        """
        self._served = served
        nonce = secrets.token_bytes(32) if self.nonce is None else self.nonce
        self._requests(nonce, b"", _today())

    @property
    def served(self) -> Served:
        """The model that must answer."""
        if self._served is None:
            raise InputError("the model of an exchange is not known yet")
        return self._served

    # -- limits --------------------------------------------------------------------------------------------
    @property
    def _most_tokens(self) -> int:
        context = self.served.card.program.context
        most = self.call.max_tokens if isinstance(self.call, Call) else None
        return min(most or context, context)

    @property
    def most_line(self) -> int:
        """The most bytes of one event: one choice may come whole."""
        return MAX_ENVELOPE + self._most_tokens * (_ESCAPED * self.served.longest + _TOKEN)

    @property
    def most_total(self) -> int:
        """The most bytes of a stream: each token may come alone."""
        return MAX_ENVELOPE + self.call.n * (self.most_line + self._most_tokens * MAX_CHUNK)

    @property
    def most_whole(self) -> int:
        """The most bytes of an answer that is not a stream."""
        if isinstance(self.call, EmbeddingCall):
            return self.call.n * (MAX_ENVELOPE + _NUMBER * self.served.embedder.width)
        return self.call.n * self.most_line

    def came(self, seconds: float) -> None:
        """Note how many seconds after the question the newest bytes of its answer came."""
        self._seconds = seconds

    # -- a stream ------------------------------------------------------------------------------------------
    def event(self, data: bytes) -> list[bytes]:
        """Take the data of one event, and return the events that the client may see now.

        Raises VerificationError if the event is malformed or cannot be part of the answer.
        """
        sent = read_response(data, self.most_line)
        if self._stream is None or self._refused:
            raise VerificationError(1, "the stream of an answer goes on after its error")
        if "error" in sent:
            return self._refusal(sent)
        try:
            proof = self._stream.push(sent)
        except VerificationError as e:
            if self._rules.require or FIELD in sent:
                raise self._doubt or e from None
            self._doubt = self._doubt or e
            return [written(encoded(sent))]
        if proof is not None:
            self._told.append(proof)
        if proof is None and sent.get("choices") != []:
            return [written(encoded(sent))]
        self._held.append(sent)
        try:
            self._proofs = self._stream.close()
        except VerificationError:  # other choices or the usage are still to come
            return []
        self._ended = True
        return []

    def _refusal(self, sent: Mapping[str, Json]) -> list[bytes]:
        """Pass on an error by which a node ends its answer: it refuses, and claims nothing more."""
        if sent.keys() != {"error"} or self._ended:
            raise VerificationError(1, "an answer and an error in one")
        require_error(sent["error"])
        self._refused = True
        return [written(encoded(sent))]

    @property
    def held(self) -> bool:
        """Whether the answer is complete and its end waits for :meth:`release`."""
        return self._ended and bool(self._held)

    def release(self) -> list[bytes]:
        """Check the receipts and everything that came, and return the events that were held back.

        Raises VerificationError if anything contradicts the receipts.
        """
        requests, claims = self._claims()
        if self._stream is not None:
            self._stream.check(self.served.card, requests, claims)
        self._pass(claims, requests)
        held, self._held = self._held, []
        return [written(encoded(sent)) for sent in held]

    def end(self, *, done: bool) -> bool:
        """Check that a stream may end here, and return whether the client may see its end mark.

        Raises VerificationError if the answer is not complete.
        """
        if self._refused:
            return False
        if self._doubt is not None and not self._ended:
            return done
        if not (self._ended and done):
            raise VerificationError(1, "the stream of an answer ends before the answer is complete")
        return True

    # -- a whole answer ------------------------------------------------------------------------------------
    def whole(self, data: bytes) -> None:
        """Take an answer that is not a stream. Raises VerificationError if it is malformed."""
        self._response = read_response(data, self.most_whole)
        if self._rules.require or FIELD in self._response:
            self._proofs = decode_proofs(self._response.get(FIELD), self.call.n)
            self._told = list(self._proofs)

    def released(self) -> bytes:
        """Check the answer and return the body for the client, which is written anew.

        Raises VerificationError if anything contradicts the receipts.
        """
        response = self._response or {}
        if self._proofs:
            requests, claims = self._claims()
            if isinstance(self.call, Call):
                check_completion(self.served.card, self.call, requests, claims, response)
            else:
                check_embeddings(self.served.card, self.call, requests, claims, response)
            self._pass(claims, requests)
        return encoded(response)

    # -- receipts ------------------------------------------------------------------------------------------
    @property
    def lacks_terms(self) -> bool:
        """Whether a receipt names terms that have not been fetched from the node yet."""
        book = self._rules.terms
        return any(book.lacks(self._receipt(proof).terms_digest) for proof in self._proofs)

    @staticmethod
    def _receipt(proof: ProofField) -> Receipt:
        return decoded(Receipt.decode, proof.receipt, "receipt")

    def _claims(self) -> tuple[tuple[Request, ...], list[Claim]]:
        """Return the requests that had to be computed, and what their receipts claim."""
        card, node = self.served.card, self._rules.node
        with about(model_id=card.model_id, node=node):
            check_proofs(self._proofs, model_id=card.model_id, nonce=self.nonce, today=_today(), node=node)
            first = self._proofs[0]
            try:
                requests = self._requests(first.nonce, first.node, first.date)
            except InputError as e:  # the question fitted on the client's own day
                raise VerificationError(4, f"the question cannot be asked on the node's day: {e}") from e
            claims = []
            for at, (proof, request) in enumerate(zip(self._proofs, requests, strict=True)):
                self._rejected = at
                terms = self._rules.terms.required(self._receipt(proof).terms_digest)
                claims.append(
                    check_receipt(
                        card, request, proof.receipt, node, terms=terms, retention=self._rules.retention
                    )
                )
            self._rejected = None
        return requests, claims

    def _requests(self, nonce: bytes, node: bytes, date: Date) -> tuple[Request, ...]:
        """Return the requests that the question means for a node. The prompt does not depend on the node."""
        key = nonce, date
        if key not in self._derived:
            call, served = self.call, self.served
            self._derived[key] = (
                call.requests(served.prompter, nonce=nonce, date=date)
                if isinstance(call, Call)
                else call.requests(served.embedder, nonce=nonce)
            )
        return tuple(replace(request, node=node) for request in self._derived[key])

    def contradicted(
        self, error: VerificationError, response: bytes, audited: Audited | None = None
    ) -> Contradiction:
        """Return what is known of an answer that does not hold."""
        return Contradiction(
            error=error,
            endpoint=self._endpoint,
            question=self._body,
            nonce=self.nonce,
            response=response,
            stated=self._stated(),
            rejected=self._rejected,
            card=None if self._served is None else self._served.card,
            audited=self._audited if audited is None else audited,
            when=time.time(),
        )

    def _stated(self) -> tuple[Stated, ...]:
        """Return the receipts that came, with the requests that this question meant for their nodes."""
        found = []
        for proof in sorted(self._told, key=lambda proof: proof.choice):
            try:
                requests = self._requests(self.nonce or proof.nonce, proof.node, proof.date)
            except InputError:  # such as a day on which the question does not fit
                continue
            try:
                terms = self._rules.terms.named(self._receipt(proof).terms_digest)
            except VerificationError:  # it does not decode, and names nothing
                terms = None
            found.append(Stated(requests[proof.choice], proof.receipt, terms))
        return tuple(found)

    def _pass(self, claims: list[Claim], requests: tuple[Request, ...]) -> None:
        now = time.time()
        for proof, request, claim in zip(self._proofs, requests, claims, strict=True):
            terms = self._rules.terms.required(claim.receipt.terms_digest)
            signed = None if terms is None else terms.encode()
            checked = Checked(request, proof.receipt, claim, proof.nonce_by, signed, now, self._seconds)
            self._audited = self._checked(checked)
            if self._audited is not None and isinstance(self._audited.found, VerificationError):
                raise self._audited.found


def _today() -> Date:
    return datetime.now(UTC).date()
