"""Bind bodies of ``/v1/embeddings`` to requests, and the vectors of a response to receipts
(docs/spec/openai.md#embeddings).

Each input is a request of its own with a receipt of its own. A receipt binds the bytes of the vector, so a
response holds nothing but what its receipts hold already.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.arrays import F32
from proofcompute.commitments.hashing import Xof
from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_CHOICES, MAX_ROWS
from proofcompute.models.card import ModelCard
from proofcompute.openai.checking import check_same
from proofcompute.openai.errors import ParameterError
from proofcompute.openai.parameters import as_int, used
from proofcompute.openai.proof import FIELD, ProofField, decode_proofs, encode_proofs
from proofcompute.openai.sent import sent_int, sent_list, sent_object, sent_text
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request
from proofcompute.tokens.embedding import Embedder

__all__ = ["EmbeddingCall", "check_embeddings", "embedding_call_of", "embeddings_object", "nonce_of_input"]

_NONCE: Final = 32
_MAX_TOKEN: Final = 2**31 - 1
_TOKEN: Final = 4
_FORMATS: Final = ("float", "base64")


@dataclass(frozen=True, kw_only=True)
class EmbeddingCall:
    """What a body asks for: the embedding of each of ``n`` inputs."""

    model: str
    """Name of the model. It is not in the requests; whoever reads the body chooses the model by it."""
    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or token ids."""
    encoding: str
    """``float`` or ``base64``."""

    stream = False
    """There are no streams of embeddings."""

    @property
    def n(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    def requests(self, embedder: Embedder, *, nonce: bytes, node: bytes = b"") -> tuple[Request, ...]:
        """Return the request of each input; their nonces follow from ``nonce``.

        Raises InputError (FormatError, LimitError), which names the input, if one is empty or has no place in
        the context.
        """
        if len(given(nonce, bytes, "the nonce")) != _NONCE:
            raise InputError(f"a nonce has {_NONCE} bytes, not {len(nonce)}")
        found = []
        for i, value in enumerate(self.inputs):
            own = nonce_of_input(nonce, i)
            try:
                found.append(
                    embedder.text(value, nonce=own, node=node)
                    if isinstance(value, str)
                    else embedder.tokens(value, nonce=own, node=node)
                )
            except InputError as e:
                raise ParameterError(f"input[{i}]", str(e)) from e
        return tuple(found)


def nonce_of_input(nonce: bytes, i: int) -> bytes:
    """Return the nonce of input i: that of the call for the first, and hashed from it for the others."""
    return nonce if i == 0 else Xof("openai nonce of input", nonce, i.to_bytes(8, "little")).read(_NONCE)


def embedding_call_of(body: Mapping[str, Json]) -> EmbeddingCall:
    """Read a body, which :func:`.read_json` returned. Raises as :func:`.call_of`."""
    found: dict[str, Any] = used(body, "embeddings")
    if not found.get("model"):
        raise ParameterError("model", "is missing")
    encoding = found.get("encoding_format", "float")
    if encoding not in _FORMATS:
        raise ParameterError("encoding_format", "must be float or base64")
    return EmbeddingCall(model=found["model"], inputs=_inputs(found.get("input")), encoding=encoding)


def _inputs(value: Json) -> tuple[str | tuple[int, ...], ...]:
    """One text or one array of token ids, or an array of several of these."""
    if value is None:
        raise ParameterError("input", "is missing")
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise ParameterError("input", "must be a text, token ids, or an array of one of these")
    if not any(isinstance(v, str | list) for v in value):
        return (_ids(value, "input"),)
    if len(value) > MAX_CHOICES:
        raise ParameterError("input", f"has {len(value)} elements, the limit is {MAX_CHOICES}")
    return tuple(v if isinstance(v, str) else _ids(v, f"input[{i}]") for i, v in enumerate(value))


def _ids(value: Json, param: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ParameterError(param, "must be a text or token ids")
    if len(value) > MAX_ROWS:
        raise ParameterError(param, f"has {len(value)} tokens, the limit is {MAX_ROWS}")
    return tuple(as_int(v, f"{param}[{i}]", 0, _MAX_TOKEN) for i, v in enumerate(value))


# -- a node's response ---------------------------------------------------------------------------------------
def embeddings_object(
    call: EmbeddingCall, vectors: Sequence[F32], tokens: int, proofs: Sequence[ProofField]
) -> dict[str, Json]:
    """Return the response to a call: vectors [d] of its inputs, and the number of all tokens."""
    data: list[Json] = []
    for i, vector in enumerate(vectors):
        row = np.ascontiguousarray(vector, "<f4")
        shown: Json = [float(x) for x in row]
        if call.encoding == "base64":
            shown = base64.b64encode(row.tobytes()).decode("ascii")
        data.append({"object": "embedding", "index": i, "embedding": shown})
    usage: dict[str, Json] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": data,
        "model": call.model,
        "usage": usage,
        FIELD: encode_proofs(proofs),
    }


# -- a client's check ----------------------------------------------------------------------------------------
def check_embeddings(
    card: ModelCard,
    call: EmbeddingCall,
    requests: Sequence[Request],
    claims: Sequence[Claim],
    response: Mapping[str, Json],
) -> None:
    """Check a response; the arguments are those of :func:`.check_completion`.

    Raises:
        MismatchError: claims, requests and card do not belong together.
        VerificationError: something in the response does not follow from the receipts (step 5), or it is
            malformed (1).
    """
    if len(requests) != call.n or len(claims) != call.n:
        raise MismatchError(
            f"a call with {call.n} inputs has {len(requests)} requests and {len(claims)} claims"
        )
    sent = sent_object(dict(response), "the response", ("object", "data", "model", "usage", FIELD))
    for i, proof in enumerate(decode_proofs(sent.get(FIELD), call.n)):
        request, claim = requests[i], claims[i]
        if request.model_id != card.model_id or request.digest != claim.receipt.request_digest:
            raise MismatchError(f"claim {i} is not that of input {i}")
        if request.node != proof.node or request.nonce != nonce_of_input(proof.nonce, i):
            raise MismatchError(f"input {i}: the request was not derived from the proof field")
        if proof.receipt != claim.receipt.encode():
            raise MismatchError(f"input {i}: the claim is not that of the response's receipt")
    check_same("object", "list", sent.get("object"))
    check_same("model", call.model, sent.get("model"))
    data = sent_list(
        sent.get("data"),
        "data",
        lambda v, what: sent_object(v, what, ("object", "index", "embedding")),
        MAX_CHOICES,
    )
    check_same("the number of embeddings", call.n, len(data))
    for i, (entry, claim) in enumerate(zip(data, claims, strict=True)):
        check_same(f"data[{i}].object", "embedding", entry.get("object"))
        check_same(f"data[{i}].index", i, entry.get("index"))
        _check_vector(call, claim, entry.get("embedding"), f"data[{i}].embedding")
    usage = sent_object(sent.get("usage"), "usage", ("prompt_tokens", "total_tokens"))
    tokens = sum(claim.statement.prompt for claim in claims)
    for name in ("prompt_tokens", "total_tokens"):
        check_same(f"usage.{name}", tokens, sent_int(usage.get(name), f"usage.{name}"))


def _check_vector(call: EmbeddingCall, claim: Claim, value: Json, what: str) -> None:
    """Raise VerificationError unless a vector has the very numbers of the receipt."""
    ((_, data),) = claim.receipt.outputs
    if call.encoding == "base64":
        text = sent_text(value, what)
        try:
            found = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as e:
            raise VerificationError(1, f"response: {what} is not base64") from e
        if found != data or text != base64.b64encode(data).decode("ascii"):
            raise VerificationError(5, f"response: {what} does not have the bytes of the receipt")
        return
    expected = np.frombuffer(data, "<f4").astype(np.float64)
    numbers = sent_list(value, what, _number, expected.size)
    if len(numbers) != expected.size or not np.array_equal(np.array(numbers, np.float64), expected):
        raise VerificationError(5, f"response: {what} does not have the numbers of the receipt")


def _number(value: Json, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise VerificationError(1, f"response: {what} is not a number")
    return float(value)
