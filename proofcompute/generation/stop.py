"""When a generation stops: one pure function, used by generation and by verification (design, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.errors import FormatError
from proofcompute.messages import Generation
from proofcompute.vocabulary import Vocabulary

__all__ = ["check_answer", "stop_reason"]


def stop_reason(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str | None:
    """Why a generation stops right after ``tokens``, or None if it goes on.

    ``end``: the last token ends a text. ``stop``: the last token completes a stop string in the text of the
    answer. ``length``: as many tokens as the request allows. The first that applies, in this order. The
    answer before the last token is assumed not to have stopped.
    """
    if not tokens:
        return None
    if vocabulary is not None:
        if tokens[-1] in vocabulary.end_ids:
            return "end"
        if rule.stops and _completes(rule.stops, tokens, vocabulary):
            return "stop"
    return "length" if len(tokens) >= rule.max_tokens else None


def _completes(stops: Sequence[str], tokens: Sequence[int], vocabulary: Vocabulary) -> bool:
    """Whether some stop string ends inside the bytes of the last token."""
    wanted = [s.encode() for s in stops]
    longest = max(map(len, wanted))
    last = vocabulary.text_bytes(tokens[-1:])
    before = b""
    for token in reversed(tokens[:-1]):
        if len(before) >= longest:
            break
        before = vocabulary.text_bytes([token]) + before
    before = before[-(longest - 1) :] if longest > 1 else b""
    text = before + last
    return any((at := text.rfind(s)) >= 0 and at + len(s) > len(before) for s in wanted)


def check_answer(rule: Generation, tokens: Sequence[int], vocabulary: Vocabulary | None) -> str:
    """The reason why ``tokens`` is a whole answer; FormatError if it stops too early or too late."""
    if len(tokens) > rule.max_tokens:
        raise FormatError(f"the answer has {len(tokens)} tokens where {rule.max_tokens} were allowed")
    for n in range(1, len(tokens)):
        reason = stop_reason(rule, tokens[:n], vocabulary)
        if reason is not None:
            raise FormatError(f"the answer goes on after token {n}, where it had to stop ({reason})")
    reason = stop_reason(rule, tokens, vocabulary)
    if reason is None:
        raise FormatError(f"the answer ends after token {len(tokens)}, where it had to go on")
    return reason
