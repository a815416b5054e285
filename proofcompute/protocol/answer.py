"""What is shown of an answer: its text as it comes, up to the stop string that ended it.

The text is what the answer's tokens print, read letter by letter. It ends before the stop string that is
complete first; of several that are complete with the same letter, before the longest. That is what servers
with OpenAI's interface show. The receipt's tokens go on to the end of the token that completed the stop
string, so they may print a little more.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from proofcompute.errors import InputError
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation

__all__ = ["AnswerText", "answer_text"]


class AnswerText:
    """Turns the tokens of an answer into the text to show, as they arrive.

    Never gives half a character, nor what may become a stop string; bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = ()) -> None:
        self._vocabulary = vocabulary
        self._stops = [stop.encode() for stop in stops]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._stopped = False

    def push(self, *ids: int) -> str:
        """The text that can be shown now. Raises InputError for an id outside the vocabulary."""
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
        """What is left when the answer is over, for the stop reason ``reason`` (None: it was broken off).

        Raises InputError if the reason is "stop" and the text has no stop string.
        """
        if self._stopped:
            return ""
        if reason == "stop":
            raise InputError("the answer is said to end with a stop string, but its text has none")
        held, self._held = self._held, b""
        return self._decoder.decode(held, final=True)

    def _cut(self, text: bytes) -> int | None:
        """Where the stop string begins that is complete first, None if none is."""
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(ends)[1] if ends else None


def _open(text: bytes, stop: bytes) -> Iterable[int]:
    """The length of the longest end of ``text`` that is a beginning of ``stop``, if any."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            yield n
            return


def answer_text(
    vocabulary: Vocabulary, rule: Generation | None, ids: Iterable[int], reason: str | None = None
) -> str:
    """What is shown of a whole answer to a request with ``rule``. Raises as :class:`AnswerText`."""
    shown = AnswerText(vocabulary, rule.stops if rule is not None else ())
    return shown.push(*ids) + shown.finish(reason)
