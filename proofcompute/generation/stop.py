"""When a generation stops: one pure function, used by generation and by verification (design, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.errors import FormatError
from proofcompute.messages import Generation
from proofcompute.vocabulary import Vocabulary

__all__ = ["check_answer", "stop_reason"]


def stop_reason(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str | None:
    """Why a generation stops right after ``tokens``, or None if it goes on.

    ``end``: the last token ends a text, and the rule does not ignore that. ``stop``: the last token completes
    a stop string in the text of the answer. ``length``: as many tokens as the request allows. The first that
    applies, in this order. The answer before the last token is assumed not to have stopped.
    """
    return _reason(rule, tokens[:-1], tokens[-1], len(tokens), vocabulary) if tokens else None


def _reason(
    rule: Generation, before: Sequence[int], token: int, count: int, vocabulary: Vocabulary | None
) -> str | None:
    """Why a generation stops right after its ``count``-th token; ``before`` may leave out silent tokens."""
    if vocabulary is not None:
        if token in vocabulary.end_ids and not rule.ignore_end:
            return "end"
        if rule.stops and _completes(rule.stops, before, token, vocabulary):
            return "stop"
    return "length" if count >= rule.max_tokens else None


def _completes(stops: Sequence[str], tokens: Sequence[int], token: int, vocabulary: Vocabulary) -> bool:
    """Whether some stop string ends inside the bytes of ``token``, which follows ``tokens``."""
    wanted = [s.encode() for s in stops]
    longest = max(map(len, wanted))
    last = vocabulary.text_bytes([token])
    before = b""
    for earlier in reversed(tokens):
        if len(before) >= longest:
            break
        before = vocabulary.text_bytes([earlier]) + before
    before = before[-(longest - 1) :] if longest > 1 else b""
    text = before + last
    return any((at := text.rfind(s)) >= 0 and at + len(s) > len(before) for s in wanted)


def check_answer(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str:
    """The reason why ``tokens`` is a whole answer; FormatError if it stops too early or too late."""
    if len(tokens) > rule.max_tokens:
        raise FormatError(f"the answer has {len(tokens)} tokens where {rule.max_tokens} were allowed")
    reason = None
    audible: list[int] = []  # tokens that print something: a hostile answer of silent ones stays linear
    for n, token in enumerate(tokens, 1):
        if reason is not None:
            raise FormatError(f"the answer goes on after token {n - 1}, where it had to stop ({reason})")
        reason = _reason(rule, audible, token, n, vocabulary)
        if rule.stops and vocabulary is not None and vocabulary.text_bytes([token]):
            audible.append(token)
    if reason is None:
        raise FormatError(f"the answer ends after token {len(tokens)}, where it had to go on")
    return reason
