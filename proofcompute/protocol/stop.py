"""Decide when a generation stops, by one pure function for generation and verification
(docs/spec/vocabulary.md#stop-rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from proofcompute.errors import FormatError
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation

__all__ = ["check_answer", "stop_reason"]


def stop_reason(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str | None:
    """Return why a generation stops right after ``tokens``, or None if it goes on.

    The reason is the first of these that applies. ``end``: the last token ends a text, and the rule does not
    ignore end tokens. ``stop``: the last token completes a stop string in the text of the answer.
    ``length``: there are as many tokens as the request allows. The answer before the last token is assumed
    not to have stopped.
    """
    if not tokens:
        return None
    before = b""
    if rule.stops and vocabulary is not None:
        _, longest = _wanted(rule.stops)
        for earlier in reversed(tokens[:-1]):
            if len(before) >= longest:
                break
            before = vocabulary.text_bytes([earlier]) + before
    return _reason(rule, before, tokens[-1], len(tokens), vocabulary)


def _reason(
    rule: Generation, before: bytes, token: int, count: int, vocabulary: Vocabulary | None
) -> str | None:
    """Return why a generation stops right after its ``count``-th token, or None if it goes on.

    ``before`` are the last bytes printed before the token, at least as many as the longest stop string has.
    """
    if vocabulary is not None:
        if token in vocabulary.end_ids and not rule.ignore_end:
            return "end"
        if rule.stops and _completes(rule.stops, before, vocabulary.text_bytes([token])):
            return "stop"
    return "length" if count >= rule.max_tokens else None


@lru_cache(maxsize=64)
def _wanted(stops: tuple[str, ...]) -> tuple[tuple[bytes, ...], int]:
    """Return the stop strings as bytes, and the length of the longest."""
    wanted = tuple(stop.encode() for stop in stops)
    return wanted, max(map(len, wanted))


def _completes(stops: tuple[str, ...], before: bytes, last: bytes) -> bool:
    """Return whether a stop string ends inside the bytes ``last``, which follow ``before``."""
    if not last:
        return False
    wanted, longest = _wanted(stops)
    before = before[-(longest - 1) :] if longest > 1 else b""
    text = before + last
    return any(text.find(s, max(0, len(before) + 1 - len(s))) >= 0 for s in wanted)


def check_answer(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str:
    """Return why a whole answer stops. Raises FormatError if it stops too early or too late."""
    if len(tokens) > rule.max_tokens:
        raise FormatError(f"the answer has {len(tokens)} tokens where {rule.max_tokens} were allowed")
    reason = None
    before = b""  # only as many bytes as matter, so that a hostile answer takes linear time
    longest = _wanted(rule.stops)[1] if rule.stops else 0
    for n, token in enumerate(tokens, 1):
        if reason is not None:
            raise FormatError(f"the answer goes on after token {n - 1}, where it had to stop ({reason})")
        reason = _reason(rule, before, token, n, vocabulary)
        if rule.stops and vocabulary is not None:
            before = (before + vocabulary.text_bytes([token]))[-longest:]
    if reason is None:
        raise FormatError(f"the answer ends after token {len(tokens)}, where it had to go on")
    return reason
