"""Check that the chunks of a stream follow from their receipts, as they arrive
(docs/spec/openai.md#checking-a-stream).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError, VerificationError
from proofcompute.limits import MAX_ROWS, MAX_TEXT
from proofcompute.models.card import ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.openai.answers import Usage
from proofcompute.openai.call import Call
from proofcompute.openai.checking import (
    HEAD,
    answer_of,
    check_claims,
    check_finish,
    check_head,
    check_proof,
    check_same,
    check_text,
    check_usage,
    reply_head,
    usage_of,
)
from proofcompute.openai.proof import FIELD, ProofField
from proofcompute.openai.sent import sent_int, sent_list, sent_object, sent_text
from proofcompute.protocol.answer import AnswerText
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request

__all__ = ["StreamCheck"]


@dataclass
class _Choice:
    """What came of one choice so far."""

    texts: list[str] = field(default_factory=list)
    size: int = 0
    """Characters of the texts."""
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Tokens that a chunk stated, and the characters of the text up to that chunk; both ascend."""
    stated: int | None = None
    """Tokens that the chunk with the finish reason stated."""
    finish: Json = None
    proof: ProofField | None = None


class StreamCheck:
    """Checks the chunks of one stream: push each, then close, then check against the claims.

    A chunk that passes :meth:`push` is well formed and has nothing that nobody binds; whether its text is
    true is known only after :meth:`check`, since the receipt comes last.
    """

    def __init__(self, call: Call) -> None:
        if not call.stream:
            raise InputError("the call does not ask for a stream")
        self._call = call
        self._chat = call.endpoint == "chat"
        self._choices = [_Choice() for _ in range(call.n)]
        self._head: tuple[str, str] | None = None
        self._prompt: int | None = None
        self._usage: Usage | None = None

    def push(self, chunk: Mapping[str, Json]) -> ProofField | None:
        """Take the next chunk, read by :func:`.read_response`; return its proof field if it ends a choice.

        Raises VerificationError (step 1 or 5) if it is malformed or cannot be a part of this stream.
        """
        sent = sent_object(dict(chunk), "a chunk", (*HEAD, FIELD))
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        head = check_head(self._call, sent, kind)
        if self._head is None:
            self._head = head
        check_same("the id of a chunk", self._head[0], head[0], 4)
        check_same("the fingerprint of a chunk", self._head[1], head[1], 3)
        if self._usage is not None:
            raise VerificationError(5, "response: a chunk after the usage")
        known = ("index", "finish_reason", "delta" if self._chat else "text")
        choices = sent_list(sent.get("choices"), "choices", lambda v, what: sent_object(v, what, known), 1)
        if not choices:
            self._take_usage(sent)
            return None
        return self._take(choices[0], sent)

    def _take_usage(self, sent: Mapping[str, Json]) -> None:
        """Take the chunk that has no choice, the last one."""
        if not self._call.include_usage or any(c.proof is None for c in self._choices):
            raise VerificationError(5, "response: a chunk without a choice, which was not asked for")
        if sent.get(FIELD) is not None:
            raise VerificationError(5, "response: a proof field without a choice")
        self._usage = check_usage(sent.get("usage"), "usage")

    def _take(self, sent_choice: Mapping[str, Json], sent: Mapping[str, Json]) -> ProofField | None:
        index = sent_int(sent_choice.get("index"), "index", 0, self._call.n - 1)
        choice = self._choices[index]
        if choice.proof is not None:
            raise VerificationError(5, f"response: choice {index} goes on after its end")
        text = self._text(sent_choice)
        choice.size += len(text)
        if choice.size > MAX_TEXT:
            raise VerificationError(1, f"response: choice {index} has more than {MAX_TEXT} characters")
        if text:
            choice.texts.append(text)
        self._count(choice, sent.get("usage"))
        choice.finish = sent_choice.get("finish_reason")
        if choice.finish is None:
            if sent.get(FIELD) is not None:
                raise VerificationError(5, "response: a proof field before the end of its choice")
            return None
        if sent.get("usage") is not None:
            choice.stated = choice.counts[-1][0]
        choice.proof = ProofField.decode(sent.get(FIELD))
        check_same("the choice of a proof field", index, choice.proof.choice)
        return choice.proof

    def _text(self, choice: Mapping[str, Json]) -> str:
        """The text that a chunk adds."""
        if not self._chat:
            return sent_text(choice.get("text"), "text")
        delta = sent_object(choice.get("delta"), "delta", ("role", "content"))
        if delta.get("role") is not None:
            check_same("delta.role", "assistant", delta["role"])
        content = delta.get("content")
        return "" if content is None else sent_text(content, "delta.content")

    def _count(self, choice: _Choice, value: Json) -> None:
        """Keep the usage of a chunk, which is that of its choice so far."""
        if value is None:
            return
        if not self._call.continuous_usage:
            raise VerificationError(5, "response: a usage that was not asked for")
        usage = check_usage(value, "usage")
        if self._prompt is None:
            self._prompt = usage.prompt
        check_same("usage.prompt_tokens of a chunk", self._prompt, usage.prompt)
        before = choice.counts[-1] if choice.counts else (-1, 0)
        now = (usage.completion, choice.size)
        if now == before:
            return
        if not before[0] < usage.completion <= MAX_ROWS:
            raise VerificationError(5, "response: text without a token, or fewer tokens than before")
        choice.counts.append(now)

    def close(self) -> tuple[ProofField, ...]:
        """Return the proof fields of all choices, in order, after the last chunk.

        Raises VerificationError (step 5) if a choice has not ended, or the usage is missing.
        """
        found = []
        for i, choice in enumerate(self._choices):
            if choice.proof is None:
                raise VerificationError(5, f"response: choice {i} has no end")
            found.append(choice.proof)
        if self._call.include_usage and self._usage is None:
            raise VerificationError(5, "response: the usage is missing")
        return tuple(found)

    def check(self, card: ModelCard, requests: Sequence[Request], claims: Sequence[Claim]) -> None:
        """Check everything that came; arguments and errors are those of :func:`.check_completion`."""
        proofs = self.close()
        vocabulary = check_claims(card, requests, claims, self._call.n)
        identity, print_ = self._head or ("", "")
        wanted, model = reply_head(self._call, requests)
        check_same("id", wanted, identity, 4)
        check_same("system_fingerprint", model, print_, 3)
        for i, (choice, proof, request, claim) in enumerate(
            zip(self._choices, proofs, requests, claims, strict=True)
        ):
            check_proof(proof, request, claim)
            check_text(vocabulary, request, claim, "".join(choice.texts), f"the text of choice {i}")
            check_finish(claim, choice.finish, f"the finish reason of choice {i}")
            _check_counts(vocabulary, request, claim, choice)
        if self._prompt is not None:
            check_same("usage.prompt_tokens", claims[0].statement.prompt, self._prompt)
        if self._usage is not None:
            check_same("usage", usage_of(claims), self._usage)


def _check_counts(vocabulary: Vocabulary, request: Request, claim: Claim, choice: _Choice) -> None:
    """Check that a chunk that states k tokens ends where the text of k tokens ends."""
    tokens = answer_of(claim)
    stops = request.generation.stops if request.generation else ()
    shown, done, size = AnswerText(vocabulary, stops), 0, 0
    for k, end in choice.counts:
        if k <= len(tokens):
            size += len(shown.push(*tokens[done:k]))
            done = k
        if k == len(tokens):
            size += len(shown.finish(claim.receipt.stop_reason))
        if k > len(tokens) or size != end:
            raise VerificationError(5, f"response: {k} tokens do not print what a chunk shows with them")
    if choice.stated is not None:
        check_same("usage.completion_tokens at the end of a choice", len(tokens), choice.stated)
