"""Verifies the receipt of every answer that was measured, against the body that was sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from benchmarks.serving.streams import DONE, Answer, Raw, events
from proofcompute.errors import InputError
from proofcompute.models.card import ModelCard
from proofcompute.openai import ProofField, StreamCheck, call_of, check_proofs, read_json, read_response
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.tokens import Prompter
from proofcompute.verifier import check_receipt

__all__ = ["Receipts"]

_LIMIT: Final = 1 << 22
"""Most bytes of a body and of an event."""
_TOKEN: Final = 4
"""Bytes of a token in a receipt."""


class Receipts:
    """Checks receipts as a client does that holds only the model's card (steps 1 to 5), and counts them."""

    def __init__(self, card: ModelCard, node: bytes | None = None) -> None:
        self.card, self.node = card, node
        self.count = 0
        self._prompter = Prompter(card)

    def __call__(self, answer: Answer) -> None:
        """Check text, finish reason, usage and receipt of a whole answer.

        Raises VerificationError if one of them is wrong.
        """
        self.proved(answer.raw)

    def proved(self, raw: Raw) -> tuple[Request, ProofField, Claim]:
        """Check a stream; return the request as the client derives it, the proof field, and the claim."""
        call = call_of(read_json(raw.body, _LIMIT), endpoint="completions")
        check = StreamCheck(call)
        for _, data in events(raw):
            if data != DONE:
                check.push(read_response(data, _LIMIT))
        proofs = check.close()
        check_proofs(
            proofs,
            model_id=self.card.model_id,
            nonce=raw.nonce or None,
            today=datetime.now(UTC).date(),
            node=self.node,
        )
        first = proofs[0]
        requests = call.requests(self._prompter, nonce=first.nonce, date=first.date, node=first.node)
        claims = [check_receipt(self.card, r, p.receipt) for r, p in zip(requests, proofs, strict=True)]
        check.check(self.card, requests, claims)
        self.count += len(claims)
        return requests[0], first, claims[0]

    def asked(self, raw: Raw) -> Request:
        """Return the request of a body that was sent with a nonce of ours."""
        if self.node is None or not raw.nonce:
            raise InputError("only a request with a nonce to a known node is known beforehand")
        call = call_of(read_json(raw.body, _LIMIT), endpoint="completions")
        today = datetime.now(UTC).date()
        return call.requests(self._prompter, nonce=raw.nonce, date=today, node=self.node)[0]

    def left(self, request: Request, receipt: bytes) -> None:
        """Check the receipt for what was computed of a request whose client left.

        It is that of the whole answer, or of the request shortened to the tokens that there are. Raises
        VerificationError if it is neither.
        """
        found = Receipt.decode(receipt)
        generation = request.generation
        if found.request_digest != request.digest and generation is not None:
            tokens = len(found.outputs[0][1]) // _TOKEN
            request = replace(request, generation=replace(generation, max_tokens=tokens))
        check_receipt(self.card, request, receipt, self.node)
        self.count += 1

    def close(self) -> None:
        """End the prompter's process."""
        self._prompter.close()
