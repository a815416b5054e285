"""Read values in a response, which a node sent: every fault is a VerificationError.

A field that is not known must be null or an empty array. Nothing in a receipt says what else it should be,
and a client might act on it: a node could add the call of a tool to an answer that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import FormatError, LimitError, VerificationError

__all__ = ["read_response", "sent_int", "sent_list", "sent_object", "sent_text"]

_T = TypeVar("_T")
MAX_COUNT = 2**53 - 1
"""Greatest number in a response, which every reader of JSON holds exactly."""


def read_response(data: bytes, limit: int) -> dict[str, Json]:
    """Return the object in a node's response, or in one event of its stream.

    Raises VerificationError (step 1) where :func:`.read_json` raises FormatError or LimitError.
    """
    try:
        return read_json(data, limit)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, f"response: {e}") from e


def sent_object(value: Json, what: str, known: tuple[str, ...]) -> Mapping[str, Json]:
    """Return an object whose other fields than ``known`` are null or empty arrays.

    Raises VerificationError: of step 1 if it is no object, of step 5 if it has a field that nothing binds.
    """
    if not isinstance(value, dict):
        raise VerificationError(1, f"response: {what} is not an object")
    for name, field in value.items():
        if name not in known and field not in (None, []):
            raise VerificationError(5, f"response: {what} has the field {name[:64]!r}, which nothing binds")
    return value


def sent_text(value: Json, what: str) -> str:
    """Return a text; VerificationError (step 1) for anything else."""
    if not isinstance(value, str):
        raise VerificationError(1, f"response: {what} is not a text")
    return value


def sent_int(value: Json, what: str, least: int = 0, most: int = MAX_COUNT) -> int:
    """Return an integer of a range; VerificationError (step 1) for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise VerificationError(1, f"response: {what} is not an integer from {least} to {most}")
    return value


def sent_list(value: Json, what: str, read: Callable[[Json, str], _T], most: int) -> tuple[_T, ...]:
    """Return what ``read`` makes of each of up to ``most`` elements; VerificationError (step 1) otherwise."""
    if not isinstance(value, list) or len(value) > most:
        raise VerificationError(1, f"response: {what} is not an array of at most {most}")
    return tuple(read(v, f"{what}[{i}]") for i, v in enumerate(value))
