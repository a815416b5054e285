"""Read the messages of a conversation (docs/spec/openai.md#messages)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofcompute.encoding.strict_json import Json
from proofcompute.openai.errors import ParameterError, UnsupportedParameterError
from proofcompute.openai.parameters import as_object, as_text
from proofcompute.tokens import Message

__all__ = ["messages_of"]

_ROLES: Final[Mapping[str, str]] = {
    "developer": "system",  # newer models call it so; templates know system only
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}
_EMPTY: Final = (
    "annotations",
    "audio",
    "function_call",
    "name",
    "reasoning",
    "reasoning_content",
    "refusal",
    "tool_call_id",
    "tool_calls",
)
"""Fields of messages that the template would not show, so they may only be null or empty arrays."""
_MAX_SHOWN: Final = 64


def messages_of(value: Json) -> tuple[Message, ...]:
    """Return the messages. Raises ParameterError or UnsupportedParameterError if they cannot be used."""
    if value is None:
        raise ParameterError("messages", "is missing")
    if not isinstance(value, list):
        raise ParameterError("messages", "must be an array")
    if not value:
        raise ParameterError("messages", "is empty")
    return tuple(_message(m, f"messages[{i}]") for i, m in enumerate(value))


def _message(value: Json, where: str) -> Message:
    fields = as_object(value, where)
    role = as_text(fields.get("role"), f"{where}.role")
    if role in ("tool", "function"):
        raise UnsupportedParameterError(f"{where}.role", "results of tools are not supported")
    if role not in _ROLES:
        raise ParameterError(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
    for name, field in fields.items():
        if name in ("role", "content"):
            continue
        if name not in _EMPTY:
            raise UnsupportedParameterError(
                f"{where}.{name[:_MAX_SHOWN]}", "is not a field that is known here"
            )
        if field not in (None, []):
            raise UnsupportedParameterError(f"{where}.{name}", "is not supported; leave it out")
    return Message(_ROLES[role], _content(fields.get("content"), f"{where}.content"))


def _content(value: Json, where: str) -> str:
    """A text, or text parts, which are joined by line feeds."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ParameterError(where, "must be a text or an array of text parts")
    if not value:
        raise ParameterError(where, "has no parts")
    return "\n".join(_part(part, f"{where}[{i}]") for i, part in enumerate(value))


def _part(value: Json, where: str) -> str:
    part = as_object(value, where)
    if as_text(part.get("type"), f"{where}.type") != "text":
        raise UnsupportedParameterError(f"{where}.type", "only text parts are supported")
    for name, field in part.items():
        if name not in ("type", "text") and field is not None:
            raise UnsupportedParameterError(
                f"{where}.{name[:_MAX_SHOWN]}", "is not a field that is known here"
            )
    return as_text(part.get("text"), f"{where}.text")
