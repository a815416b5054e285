"""Make responses in OpenAI's form (docs/spec/openai.md#responses)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError
from proofcompute.openai.call import Call
from proofcompute.openai.errors import ParameterError, UnsupportedParameterError
from proofcompute.openai.parameters import Endpoint
from proofcompute.openai.proof import FIELD, ProofField, encode_proofs
from proofcompute.protocol.messages import Request

__all__ = [
    "FINISH_REASONS",
    "Reply",
    "Usage",
    "completion_id",
    "error_object",
    "error_of",
    "fingerprint",
    "model_object",
    "models_object",
]

FINISH_REASONS: Final[Mapping[str, str]] = {"end": "stop", "stop": "stop", "length": "length"}
"""What OpenAI's interface calls the stop reasons of receipts."""
_PREFIX: Final[Mapping[Endpoint, str]] = {"chat": "chatcmpl-", "completions": "cmpl-"}


def completion_id(endpoint: Endpoint, digest: bytes) -> str:
    """Return the id of a response: it names the digest of the request of choice 0."""
    return _PREFIX[endpoint] + digest.hex()


def fingerprint(model_id: bytes) -> str:
    """Return the ``system_fingerprint`` of a model."""
    return "fp_" + model_id.hex()


@dataclass(frozen=True)
class Usage:
    """Numbers of tokens: of the prompt, and of all answers together."""

    prompt: int
    completion: int

    def encode(self) -> dict[str, Json]:
        """Return the object ``usage``."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Makes the response to one call: a whole one, or the chunks of a stream."""

    call: Call
    id: str
    fingerprint: str
    created: int
    """Seconds since 1970; nothing binds them."""

    @staticmethod
    def of(call: Call, request: Request, created: int) -> Reply:
        """Return the reply to a call whose choice 0 is ``request``."""
        return Reply(
            call=call,
            id=completion_id(call.endpoint, request.digest),
            fingerprint=fingerprint(request.model_id),
            created=created,
        )

    def whole(
        self, answers: Sequence[tuple[str, str]], usage: Usage, proofs: Sequence[ProofField]
    ) -> dict[str, Json]:
        """Return the response that is not a stream.

        ``answers`` has the text shown (:func:`proofcompute.protocol.answer.answer_text`) and the receipt's
        stop reason of each choice.
        """
        choices: list[Json] = []
        for i, (text, reason) in enumerate(answers):
            said: dict[str, Json] = {"text": text}
            if self.call.endpoint == "chat":
                said = {"message": {"role": "assistant", "content": text, "refusal": None}}
            choices.append({"index": i, **said, "logprobs": None, "finish_reason": FINISH_REASONS[reason]})
        kind = "chat.completion" if self.call.endpoint == "chat" else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage.encode(), FIELD: encode_proofs(proofs)}

    def chunk(
        self,
        choice: int,
        text: str,
        *,
        first: bool = False,
        usage: Usage | None = None,
        reason: str | None = None,
        proof: ProofField | None = None,
    ) -> dict[str, Json]:
        """Return a chunk of one choice.

        Args:
            choice: number of the choice.
            text: what comes after the text of the choice's earlier chunks; it may be empty.
            first: whether it is the choice's first chunk, which names the role.
            usage: tokens of the prompt, and of this choice so far; sent if the call asks for it.
            reason: the receipt's stop reason, on the last chunk of the choice.
            proof: the proof field, on that chunk.
        """
        said: dict[str, Json] = {"text": text}
        if self.call.endpoint == "chat":
            said = {"delta": {**({"role": "assistant"} if first else {}), "content": text}}
        finish = None if reason is None else FINISH_REASONS[reason]
        made: dict[str, Json] = {
            **self._chunk_head(),
            "choices": [{"index": choice, **said, "logprobs": None, "finish_reason": finish}],
        }
        if self.call.continuous_usage and usage is not None:
            made["usage"] = usage.encode()
        elif self.call.include_usage:
            made["usage"] = None
        if proof is not None:
            made[FIELD] = proof.encode()
        return made

    def last(self, usage: Usage) -> dict[str, Json]:
        """Return the chunk after all others, if the call asks for the usage: it has no choice."""
        return {**self._chunk_head(), "choices": [], "usage": usage.encode()}

    def _chunk_head(self) -> dict[str, Json]:
        return self._head("chat.completion.chunk" if self.call.endpoint == "chat" else "text_completion")

    def _head(self, kind: str) -> dict[str, Json]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.call.model,
            "system_fingerprint": self.fingerprint,
        }


def model_object(name: str, model_id: bytes, created: int) -> dict[str, Json]:
    """Return the object of one model, which also says the model id."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "proofcompute",
        FIELD: {"model_id": model_id.hex()},
    }


def models_object(models: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """Return the list of all models."""
    return {"object": "list", "data": list(models)}


def error_object(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Json]:
    """Return the body of a response that is an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_of(error: InputError) -> dict[str, Json]:
    """Return the body of the response to a call that cannot be answered."""
    if isinstance(error, UnsupportedParameterError):
        return error_object(str(error), param=error.param, code="unsupported_parameter")
    if isinstance(error, ParameterError):
        return error_object(str(error), param=error.param, code="invalid_value")
    return error_object(str(error))
