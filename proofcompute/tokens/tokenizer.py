"""Converts text to tokens and back.

Control tokens are found here and not by the ``tokenizers`` library, so that text from outside never becomes
one: their names are searched in trusted texts only (:mod:`proofcompute.tokens.added`). The text between them
is joined again, across the texts of a prompt, and encoded as one, so a conversation without such names has
exactly the tokens that the library gives the same string. User-defined tokens (runs of spaces, mark-up) are
plain text to a model and are found everywhere.

What a vocabulary does not normalise, its tokens give back byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import MAX_TEXT
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.tokens.added import AddedTokens, Span, found_names
from proofcompute.tokens.library import Library, Near
from proofcompute.tokens.names import Names
from proofcompute.tokens.prompt_text import PromptText

__all__ = ["Tokenizer"]

_SHORT: Final = 1 << 12
"""The most characters of a text for which a tokenizer is reduced to the tokens that occur in it."""


class Tokenizer:
    """The tokenizer of a vocabulary.

    With ``only``, it encodes nothing but that text and parts of it, and is made ten times faster.
    """

    def __init__(self, vocabulary: Vocabulary, only: str | None = None) -> None:
        self.vocabulary: Final = vocabulary
        """The vocabulary of the tokens."""
        self._only = only if only is not None and len(only) <= _SHORT else None
        self._added = AddedTokens(vocabulary)
        marks, late_marks = (found_names(vocabulary, control=True, normalised=n) for n in (False, True))
        self._control = Names(late_marks | marks)
        near = None if self._only is None else Near.of(vocabulary, self._only)
        late = found_names(vocabulary, control=False, normalised=True) if vocabulary.normalisers else {}
        self._plain = Library(vocabulary, near, late)
        # control tokens whose names are searched in the normalised text are the library's to find
        self._late_marks = frozenset(late_marks.values() if vocabulary.normalisers else ())
        self._marked = Library(vocabulary, near, late | late_marks) if self._late_marks else self._plain

    def encode(self, text: str, special: bool) -> list[int]:
        """Return the tokens of ``text``; names of control tokens become these only if ``special``.

        Raises:
            FormatError: the text has lone surrogates.
            LimitError: it is longer than MAX_TEXT bytes.
            UnsupportedError: it has a byte that no token of the vocabulary can express.
        """
        return self.encode_texts([PromptText(text, special)])

    def encode_texts(self, texts: Iterable[PromptText]) -> list[int]:
        """Return the tokens of several texts, read one after the other, without bos.

        Raises as :meth:`encode`, and InputError if a control token's name touches a doubtful text.
        """
        texts = list(texts)
        size = 0
        for text in texts:
            size += _size(text.text)
            if size > MAX_TEXT:
                raise LimitError(f"the text has more than {MAX_TEXT} bytes")
        whole = "".join(text.text for text in texts)
        self._check_doubtful(texts, whole)
        trusted = list(_trusted(texts))
        ids: list[int] = []
        for part in self._added.cut(whole, trusted):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(self._encode_plain(whole, part, trusted))
        return ids

    def encode_prompt(self, texts: Iterable[PromptText]) -> list[int]:
        """Return the tokens as :meth:`encode_texts`, between those that the vocabulary puts around a text.

        Those in front are not repeated if the text begins with them.
        """
        ids = self.encode_texts(texts)
        before, after = list(self.vocabulary.before), list(self.vocabulary.after)
        return [*([] if ids[: len(before)] == before else before), *ids, *after]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that ``ids`` print; bytes that are not UTF-8 become U+FFFD. Raises InputError.

        The space that was put in front of the text, if the vocabulary does that, is left out.
        """
        text = self.vocabulary.text_bytes(ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.vocabulary.strip_space else text

    def control_names(self, text: str) -> list[str]:
        """Return the names of control tokens in ``text``, in order."""
        return [text[a:b] for a, b, _ in self._control.spans(text)]

    def _check_doubtful(self, texts: Sequence[PromptText], whole: str) -> None:
        if not any(t.doubtful for t in texts):
            return
        doubtful = bytearray()
        for t in texts:
            doubtful += bytes([t.doubtful]) * len(t.text)
        for at, end, _ in self._control.spans(whole):
            if any(doubtful[at:end]):
                raise InputError(
                    f"the prompt has the name of the control token {whole[at:end]} in a text whose author "
                    "the chat template hides, so it can be neither this token nor letters"
                )

    def _encode_plain(self, whole: str, part: Span, trusted: Sequence[Span]) -> list[int]:
        start, end = part
        text = whole[start:end]
        if self._only is not None and text not in self._only:
            raise InputError("this tokenizer was made for another text")
        if not self._late_marks:
            return self._plain.encode(text, begin=start == 0)[0]
        ids, offsets = self._marked.encode(text, begin=start == 0)
        sure = set()
        for i, (a, b) in zip(ids, offsets, strict=True):
            if i in self._late_marks:
                a, b = _stripped(text, a, b)
                sure.add(any(low <= start + a and start + b <= high for low, high in trusted))
        if len(sure) == 2:
            raise InputError(
                "the prompt has names of control tokens that are searched in the normalised text, some by "
                "the template and some in a message, which cannot be told apart; change the message"
            )
        return ids if sure != {False} else self._plain.encode(text, begin=start == 0)[0]


def _trusted(texts: Iterable[PromptText]) -> Iterator[Span]:
    at = 0
    for text in texts:
        if text.trusted and text.text:
            yield at, at + len(text.text)
        at += len(text.text)


def _stripped(text: str, start: int, end: int) -> Span:
    """Return where the name of a token stands, without the white space that belongs to it."""
    name = text[start:end]
    return end - len(name.lstrip()), start + len(name.rstrip())


def _size(text: str) -> int:
    if len(text) > MAX_TEXT:
        raise LimitError(f"the text has more than {MAX_TEXT} bytes")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise FormatError("the text has lone surrogates") from None
