"""Turn an answer's tokens into text as they arrive, up to the stop string that ended the answer.

The text is what the answer's tokens print, read character by character. It ends before the stop string that
is complete first; if several are complete at the same character, before the longest. Servers with OpenAI's
interface show the same text. The receipt's tokens include the whole token that completed the stop string, so
they may print a little more.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from proofcompute.errors import InputError
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation

__all__ = ["AnswerText", "answer_text"]


class AnswerText:
    """The text to show of an answer whose tokens arrive one after the other.

    It never ends inside a character or in what may become a stop string. Bytes that are not UTF-8 become
    U+FFFD.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = ()) -> None:
        self._vocabulary = vocabulary
        self._stops = [stop.encode() for stop in stops]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._stopped = False

    def push(self, *ids: int) -> str:
        """Add tokens and return the text that can be shown now.

        Raises InputError for an id outside the vocabulary.
        """
        text = self._vocabulary.text_bytes(ids)
        if self._stopped:
            return ""
        held = self._held + text
        if (cut := self._cut(held)) is not None:
            self._held, self._stopped = b"", True
            return self._decoder.decode(held[:cut], final=True)
        keep = max((n for stop in self._stops for n in _open(held, stop)), default=0)
        self._held = held[len(held) - keep :]
        return self._decoder.decode(held[: len(held) - keep])

    def finish(self, reason: str | None = None) -> str:
        """Return the rest of the text once the answer ended for ``reason`` (None: it was broken off).

        Raises InputError if the reason is "stop" and the text has no stop string.
        """
        if self._stopped:
            return ""
        if reason == "stop":
            raise InputError("the answer is said to end with a stop string, but its text has none")
        held, self._held = self._held, b""
        return self._decoder.decode(held, final=True)

    def _cut(self, text: bytes) -> int | None:
        """Return where the stop string that is complete first begins, or None if none is complete."""
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(ends)[1] if ends else None


def _open(text: bytes, stop: bytes) -> Iterable[int]:
    """Yield the length of the longest end of ``text`` that is a beginning of ``stop``, if there is one."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            yield n
            return


def answer_text(
    vocabulary: Vocabulary, rule: Generation | None, ids: Iterable[int], reason: str | None = None
) -> str:
    """Return the text to show of a whole answer to a request with ``rule``.

    Raises the errors of :class:`AnswerText`.
    """
    shown = AnswerText(vocabulary, rule.stops if rule is not None else ())
    return shown.push(*ids) + shown.finish(reason)
