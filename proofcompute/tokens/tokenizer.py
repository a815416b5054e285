"""Converts text to tokens and back.

Control tokens are found here and not by the ``tokenizers`` library, so that text from outside never becomes
one: their names are searched in trusted texts only, leftmost first and longest first, as the library does.
The text between them is joined again, across the texts of a prompt, and encoded as one, so a conversation
without such names has exactly the tokens of the usual encoding as one string. User-defined tokens (runs of
spaces, mark-up) are plain text to a model and are found everywhere.

Byte-level BPE is that of Sennrich et al. 2016 (arXiv:1508.07909) and Radford et al. 2019 (GPT-2). Nothing is
normalised: a text is refused, or its tokens decode to the same bytes. A space is added only if the vocabulary
has ``add_space``, before the text and after each special token, as in llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import tokenizers
from tokenizers.models import BPE

from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import MAX_TEXT
from proofcompute.models.vocabulary import CONTROL, USER_DEFINED, Vocabulary, byte_alphabet
from proofcompute.tokens.names import Names, names_of
from proofcompute.tokens.pretokenizers import IGNORE_MERGES, pre_tokenizer
from proofcompute.tokens.prompt_text import PromptText
from proofcompute.tokens.sentencepiece import SentencePiece

__all__ = ["Tokenizer"]

_SHORT: Final = 1 << 12
"""The most characters of a text for which a tokenizer is reduced to the tokens that occur in it."""


class Tokenizer:
    """The tokenizer of a vocabulary. Raises UnsupportedError if the pre-tokenizer is unknown.

    With ``only``, it encodes nothing but that text and parts of it, and is made ten times faster.
    """

    def __init__(self, vocabulary: Vocabulary, only: str | None = None) -> None:
        self.vocabulary: Final = vocabulary
        """The vocabulary of the tokens."""
        control, user_defined = (
            names_of(vocabulary.tokens, vocabulary.types, kind) for kind in (CONTROL, USER_DEFINED)
        )
        self._control = Names(control)
        # text from outside must not find a user-defined token with the name of a control token
        self._user_defined = Names({k: v for k, v in user_defined.items() if k not in control})
        self._plain: _ByteLevel | SentencePiece = (
            _ByteLevel(vocabulary, only) if vocabulary.kind == "bpe" else SentencePiece(vocabulary)
        )

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
        self._check_doubtful(texts)
        ids: list[int] = []
        plain: list[str] = []
        for text in texts:
            for part in self._control.split(text.text) if text.trusted else (text.text,):
                if isinstance(part, str):
                    plain.append(part)
                else:
                    ids.extend(self._encode_plain("".join(plain)))
                    plain.clear()
                    ids.append(part)
        ids.extend(self._encode_plain("".join(plain)))
        return ids

    def encode_prompt(self, texts: Iterable[PromptText]) -> list[int]:
        """Return the tokens as :meth:`encode_texts`, after one bos if the vocabulary asks for it."""
        ids = self.encode_texts(texts)
        bos = self.vocabulary.bos
        if self.vocabulary.add_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that ``ids`` print; bytes that are not UTF-8 become U+FFFD. Raises InputError."""
        return self.vocabulary.text_bytes(ids).decode("utf-8", "replace")

    def control_names(self, text: str) -> list[str]:
        """Return the names of control tokens in ``text``, in order."""
        return [text[a:b] for a, b, _ in self._control.spans(text)]

    def _check_doubtful(self, texts: Sequence[PromptText]) -> None:
        if not any(t.doubtful for t in texts):
            return
        text, doubtful = "".join(t.text for t in texts), bytearray()
        for t in texts:
            doubtful += bytes([t.doubtful]) * len(t.text)
        for at, end, _ in self._control.spans(text):
            if any(doubtful[at:end]):
                raise InputError(
                    f"the prompt has the name of the control token {text[at:end]} in a text whose author "
                    "the chat template hides, so it can be neither this token nor letters"
                )

    def _encode_plain(self, text: str) -> Iterator[int]:
        space = " " if self.vocabulary.add_space else ""
        for part in self._user_defined.split(text):
            if isinstance(part, str):
                yield from self._plain.encode(space + part)
            else:
                yield part


class _ByteLevel:
    """Byte-level BPE of text without control tokens.

    At each step of the merging, the pieces of a text are parts of it, and so is the result of each merge. So
    tokens that do not occur in the text, and merges that give such a token, can be left out.
    """

    def __init__(self, vocabulary: Vocabulary, only: str | None) -> None:
        self._only = only if only is not None and len(only) <= _SHORT else None
        tokens, letters = vocabulary.tokens, byte_alphabet()
        ids: Iterable[int] = vocabulary.text_ids.values()
        merges: Iterable[tuple[int, int]] = vocabulary.merges
        if self._only is not None:
            data = self._only.encode("utf-8", "surrogatepass")
            ids = {i for token, i in vocabulary.text_ids.items() if token in data}
            near = [pair for pair in merges if pair[0] in ids and pair[1] in ids]
            merges = [(a, b) for a, b in near if tokens[a] + tokens[b] in data]
        written = {i: "".join([letters[byte] for byte in tokens[i]]) for i in ids}
        self._present = bytes(byte for byte in range(256) if bytes([byte]) in vocabulary.text_ids)
        model = BPE(
            vocab={text: i for i, text in written.items()},
            merges=[(written[a], written[b]) for a, b in merges],
            ignore_merges=vocabulary.pre in IGNORE_MERGES,
        )
        self._tokenizer = tokenizers.Tokenizer(model)
        self._tokenizer.pre_tokenizer = pre_tokenizer(vocabulary.pre)

    def encode(self, text: str) -> Sequence[int]:
        if self._only is not None and text not in self._only:
            raise InputError("this tokenizer was made for another text")
        # the library would drop such a byte silently
        if missing := text.encode().translate(None, self._present):
            raise UnsupportedError(f"the vocabulary has no token for the byte 0x{missing[0]:02x} of the text")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _size(text: str) -> int:
    if len(text) > MAX_TEXT:
        raise LimitError(f"the text has more than {MAX_TEXT} bytes")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise FormatError("the text has lone surrogates") from None
