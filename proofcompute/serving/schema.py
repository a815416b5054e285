"""Describe bodies and errors in the service's OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from proofcompute.limits import MAX_CHOICES, MAX_ROWS
from proofcompute.openai import NONCE_HEADER

__all__ = [
    "CBOR",
    "CHALLENGE",
    "CHAT",
    "CHAT_ANSWER",
    "COMPLETION",
    "EMBEDDING",
    "FRAMES",
    "HEALTH",
    "MODEL",
    "MODELS",
    "PLAIN",
    "TEXT_ANSWER",
    "VECTORS",
    "describe",
    "responses",
]

_NONCE: Final = {
    "name": NONCE_HEADER,
    "in": "header",
    "description": "The client's nonce; without it the node draws one.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
_SHARED: Final[dict[str, Any]] = {
    "model": {"type": "string", "minLength": 1},
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": -1},
    "repetition_penalty": {"type": "number", "minimum": 1 / 64, "maximum": 64},
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
    "seed": {"type": "integer"},
    "stop": {"type": ["string", "array", "null"], "items": {"type": "string"}},
    "n": {"type": "integer", "minimum": 1, "maximum": MAX_CHOICES},
    "ignore_eos": {"type": "boolean"},
    "stream": {"type": "boolean"},
    "stream_options": {
        "type": ["object", "null"],
        "properties": {
            "include_usage": {"type": "boolean"},
            "continuous_usage_stats": {"type": "boolean"},
        },
    },
}
_MESSAGE: Final = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"type": ["string", "array"]},
    },
}


def _body(own: dict[str, Any], required: str) -> dict[str, Any]:
    schema = {"type": "object", "required": ["model", required], "properties": {**_SHARED, **own}}
    content = {"application/json": {"schema": schema}}
    return {"parameters": [_NONCE], "requestBody": {"required": True, "content": content}}


CHAT: Final = _body(
    {
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "max_completion_tokens": {"type": "integer", "minimum": 1, "maximum": MAX_ROWS},
    },
    "messages",
)
COMPLETION: Final = _body(
    {"prompt": {"type": ["string", "array"], "items": {"type": ["string", "integer", "array"]}}}, "prompt"
)
EMBEDDING: Final[dict[str, Any]] = {
    "parameters": [_NONCE],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "input"],
                    "properties": {
                        "model": {"type": "string", "minLength": 1},
                        "input": {
                            "type": ["string", "array"],
                            "items": {"type": ["string", "integer", "array"]},
                        },
                        "encoding_format": {"enum": ["float", "base64", None]},
                        "user": {"type": "string"},
                    },
                }
            }
        },
    },
}
CHALLENGE: Final = {
    "requestBody": {
        "required": True,
        "description": "Three CBOR byte strings: the request, the receipt and the challenge, each encoded.",
        "content": {"application/cbor-seq": {"schema": {"type": "string", "format": "binary"}}},
    }
}

# -- responses -----------------------------------------------------------------------------------------------
_Schema: TypeAlias = dict[str, Any]


def _object(**properties: _Schema) -> _Schema:
    """An object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT: Final = {"type": "string"}
_MAYBE: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_BYTES: Final = {"type": "string", "format": "binary"}
_REASON: Final = {"enum": ["stop", "length"]}
_USAGE: Final = _object(prompt_tokens=_COUNT, completion_tokens=_COUNT, total_tokens=_COUNT)
_PROOF: Final = _object(
    v={"const": 1},
    nonce=_DIGEST,
    nonce_by={"enum": ["client", "node"]},
    model_id=_DIGEST,
    node=_DIGEST,
    date={"type": "string", "format": "date"},
    open=_TEXT,
)
_MODEL: Final = _object(
    id=_TEXT,
    object={"const": "model"},
    created=_COUNT,
    owned_by=_TEXT,
    proofcompute=_object(model_id=_DIGEST),
)
_ERROR: Final = _object(error=_object(message=_TEXT, type=_TEXT, param=_MAYBE, code=_MAYBE))


def _answer(kind: str, **said: _Schema) -> _Schema:
    choice = _object(index=_COUNT, **said, finish_reason=_REASON)
    return _object(
        id=_TEXT,
        object={"const": kind},
        created=_COUNT,
        model=_TEXT,
        system_fingerprint=_TEXT,
        choices={"type": "array", "minItems": 1, "items": choice},
        usage=_USAGE,
        proofcompute=_PROOF,
    )


def _json(schema: _Schema) -> _Schema:
    return {"application/json": {"schema": schema}}


VECTORS: Final = _json(
    _object(
        object={"const": "list"},
        data={
            "type": "array",
            "minItems": 1,
            "items": _object(
                object={"const": "embedding"},
                index=_COUNT,
                embedding={"type": ["array", "string"], "items": {"type": "number"}},
            ),
        },
        model=_TEXT,
        usage=_object(prompt_tokens=_COUNT, total_tokens=_COUNT),
        proofcompute=_PROOF,
    )
)
CBOR: Final = {"application/cbor": {"schema": _BYTES}}
FRAMES: Final = {"application/cbor-seq": {"schema": _BYTES}}
PLAIN: Final = {"text/plain": {"schema": _TEXT}}
MODEL: Final = _json(_MODEL)
MODELS: Final = _json(_object(object={"const": "list"}, data={"type": "array", "items": _MODEL}))
HEALTH: Final = _json(
    _object(
        status={"enum": ["ok", "draining", "failed"]},
        node=_DIGEST,
        models={"type": "object", "additionalProperties": _object(model_id=_DIGEST, state=_TEXT)},
    )
)
_EVENTS: Final[_Schema] = {"text/event-stream": {}}  # version 3.1 of OpenAPI has no schema for events
CHAT_ANSWER: Final = {
    **_json(_answer("chat.completion", message=_object(role={"const": "assistant"}, content=_TEXT))),
    **_EVENTS,
}
TEXT_ANSWER: Final = {**_json(_answer("text_completion", text=_TEXT)), **_EVENTS}

_MEANINGS: Final = {
    400: "The request cannot be answered as it stands.",
    401: "No known API key was shown.",
    404: "There is none.",
    408: "The body did not arrive in time.",
    413: "The body is too long; most paths take none.",
    429: "Too much is asked for now; Retry-After says when to ask again, if that helps.",
    500: "A fault in the node.",
    503: "The node is about to stop, is at its limits, or its device has failed.",
}
_ANYWHERE: Final = (400, 401, 408, 413, 429, 503)
"""Statuses with which the gate refuses requests, whatever their path."""


def responses(content: _Schema, *more: int, errors: _Schema | None = None) -> dict[int | str, _Schema]:
    """Return the descriptions of all responses: of success, and of errors wherever they may come.

    ``more`` are statuses of this path alone; ``errors`` is another content of the status 503.
    """
    found: dict[int | str, _Schema] = {200: {"description": "What was asked for.", "content": content}}
    for status in sorted({*_ANYWHERE, *more}):
        found[status] = {"description": _MEANINGS[status], "content": _json(_ERROR)}
    if errors is not None:
        found[503] = {"description": _MEANINGS[503], "content": errors}
    return found


def describe(document: _Schema) -> None:
    """Take out of an OpenAPI document what FastAPI adds and this service never answers (422)."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    document.pop("components", None)  # nothing but the schemas of that answer
