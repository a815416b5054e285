"""Split an event stream into the data of its events, within limits.

The form is the strict part of the HTML standard's event streams that OpenAI's interface uses: each event has
one ``data`` field, lines end in LF or CRLF, and nothing but comments and empty lines stands between events.
A stream of another form is a contradiction, because clients would read it in different ways.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from proofcompute.errors import VerificationError
from proofcompute.openai import Json

__all__ = ["DONE", "Events", "encoded", "require_error", "written"]

DONE: Final = b"[DONE]"
"""Data of the last event."""


class Events:
    """Reads the events of one response as its bytes arrive.

    Args:
        line: the most bytes of one line.
        total: the most bytes of the whole stream.

    Raises VerificationError (step 1) as soon as the stream has another form or exceeds a limit.
    """

    def __init__(self, *, line: int, total: int) -> None:
        self._line = line
        self._total = total
        self._buffer = bytearray()
        self._seen = 0
        self._data: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of each event that ends in ``data``."""
        self._seen += len(data)
        if self._seen > self._total:
            raise VerificationError(1, f"the stream of an answer has more than {self._total} bytes")
        start = len(self._buffer)  # no line ends before it
        self._buffer += data
        at = 0
        while (end := self._buffer.find(b"\n", max(at, start))) >= 0:
            line = bytes(self._buffer[at:end])
            at = end + 1
            found = self._take(line)
            if found is not None:
                yield found
        del self._buffer[:at]
        if len(self._buffer) > self._line:
            raise VerificationError(1, f"a line of an event stream has more than {self._line} bytes")

    def _take(self, line: bytes) -> bytes | None:
        """Read one line without its LF, and return the data of the event that it ends, if it ends one."""
        if len(line) > self._line:
            raise VerificationError(1, f"a line of an event stream has more than {self._line} bytes")
        line = line.removesuffix(b"\r")
        if b"\r" in line:
            raise VerificationError(1, "a line of an event stream holds a carriage return")
        if not line:
            found, self._data = self._data, None
            return found
        if line.startswith(b":"):
            return None
        name, _, value = line.partition(b":")
        if name != b"data" or self._data is not None:
            raise VerificationError(1, "an event of an answer has another field than one of data")
        self._data = value.removeprefix(b" ")
        return None

    def end(self) -> None:
        """Check that the stream does not end inside an event."""
        if self._buffer or self._data is not None:
            raise VerificationError(1, "the stream of an answer ends inside an event")


def written(data: bytes) -> bytes:
    """Return an event with ``data``, which has no line end in it."""
    return b"data: " + data + b"\n\n"


def require_error(error: Json) -> None:
    """Raise VerificationError (step 1) unless an error in a stream is one for every client.

    OpenAI's client takes an error for none if it is null, empty, false or 0, and would read on.
    """
    message = error.get("message") if isinstance(error, Mapping) else None
    if not (isinstance(message, str) and message.strip()):
        raise VerificationError(1, "an error of a stream that does not say what it is")


def encoded(value: Mapping[str, Json]) -> bytes:
    """Return JSON in ASCII, so that no reader finds a line end or another encoding in it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
