"""Describe bodies and errors in the service's OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from proofcompute.limits import MAX_CHOICES, MAX_ROWS
from proofcompute.openai import NONCE_HEADER

__all__ = ["CHALLENGE", "CHAT", "COMPLETION", "responses"]

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
CHALLENGE: Final = {
    "requestBody": {
        "required": True,
        "description": "Three CBOR byte strings: the request, the receipt and the challenge, each encoded.",
        "content": {"application/cbor-seq": {"schema": {"type": "string", "format": "binary"}}},
    }
}

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MEANINGS: Final = {
    400: "The request cannot be answered as it stands.",
    401: "No known API key was shown.",
    404: "There is none.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    429: "Too much is asked for now; Retry-After says when to ask again.",
    500: "A fault in the node.",
    503: "The node is about to stop, or its device has failed.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of responses that are errors."""
    content = {"application/json": {"schema": _ERROR}}
    return {s: {"description": _MEANINGS[s], "content": content} for s in statuses}
