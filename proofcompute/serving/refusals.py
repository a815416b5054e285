"""Say in OpenAI's form why a request is refused or has failed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from starlette.responses import Response

from proofcompute.errors import (
    BusyError,
    ChallengeLimitError,
    DeviceError,
    ExecutionError,
    InputError,
    LimitError,
    StoppedError,
)
from proofcompute.openai import Json, error_object, error_of

__all__ = ["Refusal", "json_bytes", "refusal_of"]


def json_bytes(value: Json) -> bytes:
    """Return a value as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Refusal(Exception):
    """A response that is an error. It is raised inside the service only."""

    def __init__(
        self, status: int, body: dict[str, Json], reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.reason = reason
        """The reason under which refusals are counted."""
        self.headers = dict(headers or {})
        super().__init__(reason)

    @staticmethod
    def of(
        status: int,
        message: str,
        reason: str,
        *,
        kind: str = "invalid_request_error",
        wait: float | None = None,
    ) -> Refusal:
        """Return a refusal whose code is its ``reason``; ``wait``: seconds after which to ask again."""
        headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
        return Refusal(status, error_object(message, kind=kind, code=reason), reason, headers)

    def response(self) -> Response:
        """Return the response; a lone surrogate in its text, which is no UTF-8, becomes a question mark."""
        text = json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return Response(text.encode(errors="replace"), self.status, self.headers, "application/json")


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal for an error that the package raises on purpose.

    An error of the machine says nothing of its cause, which is in the log.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BusyError):
        return Refusal.of(429, str(error), "busy", kind="rate_limit_error", wait=error.retry_after)
    if isinstance(error, ChallengeLimitError):
        return Refusal.of(429, str(error), "challenge_limit", kind="rate_limit_error")
    if isinstance(error, LimitError):
        return Refusal(400, error_of(error), "too_large")
    if isinstance(error, InputError):
        found = error_of(error)
        fields = found["error"]
        code = fields.get("code") if isinstance(fields, dict) else None
        return Refusal(400, found, code if isinstance(code, str) else "invalid_request")
    if isinstance(error, ExecutionError):
        return Refusal.of(400, f"the arithmetic has no result for this request: {error}", "no_result")
    if isinstance(error, MemoryError):
        return Refusal.of(503, "too little memory for this request", "memory", kind="server_error", wait=10)
    if isinstance(error, StoppedError):
        return Refusal.of(503, "the node is about to stop", "stopped", kind="server_error", wait=10)
    if isinstance(error, DeviceError):
        return Refusal.of(503, "the node's device has failed", "device_failed", kind="server_error")
    return Refusal.of(500, "a fault in the node", "fault", kind="server_error")
