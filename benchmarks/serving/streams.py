"""Reads streamed answers of OpenAI's interface, with the time at which each piece of text arrived.

A stream is kept as it came, and read after the measurement, so that reading one answer delays no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.errors import ExecutionError

__all__ = ["DONE", "Answer", "Raw", "events", "nearest_rank", "read"]

_DATA: Final = b"data:"
DONE: Final = b"[DONE]"


@dataclass(frozen=True)
class Raw:
    """A stream as it arrived."""

    body: bytes
    """The request's body."""
    nonce: bytes
    """The client's nonce; empty if the server was sent none."""
    started: float
    """Seconds of the clock when the request was sent."""
    pieces: Sequence[tuple[float, bytes]]
    """Bytes of the answer's body, and when they arrived."""
    ended: float


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    raw: Raw
    text: str
    times: tuple[float, ...]
    """When each piece of text arrived."""
    tokens: int
    """Tokens generated: all that were asked for."""
    prompt_tokens: int | None
    """Tokens of the prompt, if the server says."""
    last: dict[str, Any]
    """The event that says why the answer ended."""

    @property
    def first(self) -> float:
        """Seconds to the first text."""
        return self.times[0] - self.raw.started

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces of text."""
        return [float(gap) for gap in np.diff(self.times)]

    @property
    def seconds(self) -> float:
        """Seconds from sending the request to the end of the stream."""
        return self.raw.ended - self.raw.started


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all values do not exceed."""
    return float(np.quantile(np.asarray(values, np.float64), share, method="inverted_cdf"))


def read(raw: Raw, tokens: int) -> Answer:
    """Return the answer of a stream, which must have ended at the length that was asked for.

    Raises ExecutionError if the stream holds an error, breaks off, ends early for another reason than its
    length, or says a different number of tokens.
    """
    parts: list[tuple[float, str]] = []
    last: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    done = False
    for at, data in events(raw):
        if data == DONE:
            done = True
            continue
        event = _object(data)
        if "error" in event:
            raise ExecutionError(f"the server broke off: {str(event['error'])[:200]}")
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            text = choice["text"] if "text" in choice else (choice.get("delta") or {}).get("content")
            if text:
                parts.append((at, text))
            if choice.get("finish_reason") is not None:
                last = event
    reason = last["choices"][0]["finish_reason"] if last else None
    if not (done and parts and reason == "length"):
        raise ExecutionError(
            f"an answer of {len(parts)} pieces ended by {reason!r}, {'with' if done else 'without'} [DONE]; "
            f"{tokens} tokens were asked for"
        )
    said = usage.get("completion_tokens", tokens)
    if said != tokens:
        raise ExecutionError(f"the server says {said} tokens; {tokens} were asked for")
    times, texts = zip(*parts, strict=True)
    return Answer(raw, "".join(texts), times, tokens, usage.get("prompt_tokens"), last)


def events(raw: Raw) -> Iterator[tuple[float, bytes]]:
    """Yield the data of each event, and when its last byte arrived.

    Raises ExecutionError if the stream ends inside an event.
    """
    rest = b""
    for at, piece in raw.pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(_DATA):
                yield at, line[len(_DATA) :].strip()
    if rest.strip():
        raise ExecutionError("the stream ends inside an event")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as e:
        raise ExecutionError(f"an event is not JSON: {data[:200]!r}") from e
    if not isinstance(found, dict):
        raise ExecutionError(f"an event is no object: {data[:200]!r}")
    return found
