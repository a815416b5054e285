"""Text to tokens and back.

Control tokens are found here and not by the ``tokenizers`` library, so that text from outside never becomes
one: their names are searched in trusted segments only, leftmost first and longest first, as the library does.
What lies between them is joined again, across segments, and encoded as one text, so a conversation without
such names in it has exactly the tokens that the usual one-string encoding gives. User-defined tokens (runs of
spaces, mark-up) are plain text to a model and are found everywhere.

Byte-level BPE: Sennrich et al. 2016 (arXiv:1508.07909), Radford et al. 2019 (GPT-2). No normalisation: what
is encoded decodes to the same bytes, or is refused. Only where a vocabulary has ``add_space`` does a space
come in, before the text and after each special token, as in llama.cpp.
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
from proofcompute.tokens.segments import Segment
from proofcompute.tokens.sentencepiece import SentencePiece

__all__ = ["Tokenizer"]

_SHORT: Final = 1 << 12
"""Characters of a text that is worth looking for every token in it."""


class Tokenizer:
    """The tokenizer of a vocabulary. Raises UnsupportedError for a pre-tokenizer that is not known.

    With ``only``, it encodes that text and parts of it, and is ready ten times as soon.
    """

    def __init__(self, vocabulary: Vocabulary, only: str | None = None) -> None:
        self.vocabulary: Final = vocabulary
        """Where the tokens come from."""
        control, user_defined = (
            names_of(vocabulary.tokens, vocabulary.types, kind) for kind in (CONTROL, USER_DEFINED)
        )
        self._control = Names(control)
        # a name that is a control token's too is none that text from outside may have
        self._user_defined = Names({k: v for k, v in user_defined.items() if k not in control})
        self._plain: _ByteLevel | SentencePiece = (
            _ByteLevel(vocabulary, only) if vocabulary.kind == "bpe" else SentencePiece(vocabulary)
        )

    def encode(self, text: str, special: bool) -> list[int]:
        """The tokens of ``text``; names of control tokens in it count only if ``special``.

        Raises:
            FormatError: the text has lone surrogates.
            LimitError: it is longer than MAX_TEXT bytes.
            UnsupportedError: a byte that no token of the vocabulary can express.
        """
        return self.encode_segments([Segment(text, special)])

    def encode_segments(self, segments: Iterable[Segment]) -> list[int]:
        """The tokens of the segments' text, without bos.

        Raises as :meth:`encode`, and InputError if a control token's name touches a doubtful segment.
        """
        segments = list(segments)
        size = 0
        for segment in segments:
            size += _size(segment.text)
            if size > MAX_TEXT:
                raise LimitError(f"a text of more than {MAX_TEXT} bytes")
        self._check_doubtful(segments)
        ids: list[int] = []
        plain: list[str] = []
        for segment in segments:
            for part in self._control.split(segment.text) if segment.trusted else (segment.text,):
                if isinstance(part, str):
                    plain.append(part)
                else:
                    ids.extend(self._encode_plain("".join(plain)))
                    plain.clear()
                    ids.append(part)
        ids.extend(self._encode_plain("".join(plain)))
        return ids

    def encode_prompt(self, segments: Iterable[Segment]) -> list[int]:
        """As :meth:`encode_segments`, beginning with bos (once) if the vocabulary asks for that."""
        ids = self.encode_segments(segments)
        bos = self.vocabulary.bos
        if self.vocabulary.add_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ``ids`` print; bytes that are not UTF-8 become U+FFFD. Raises InputError."""
        return self.vocabulary.text_bytes(ids).decode("utf-8", "replace")

    def control_names(self, text: str) -> list[str]:
        """The names of control tokens in ``text``, in their order."""
        return [text[a:b] for a, b, _ in self._control.spans(text)]

    def _check_doubtful(self, segments: Sequence[Segment]) -> None:
        if not any(s.doubtful for s in segments):
            return
        text, doubtful = "".join(s.text for s in segments), bytearray()
        for s in segments:
            doubtful += bytes([s.doubtful]) * len(s.text)
        for at, end, _ in self._control.spans(text):
            if any(doubtful[at:end]):
                raise InputError(
                    f"the prompt has the name of the control token {text[at:end]} in a piece of which the "
                    "chat template does not show who wrote it, so it can neither be this token nor be letters"
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

    At each moment the pieces of a text are parts of it, and so is what two neighbours give when they merge.
    So tokens that do not occur in the text, and merges that give such a token, can be left out.
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
        # the library would drop such a byte without a word
        if missing := text.encode().translate(None, self._present):
            raise UnsupportedError(f"the vocabulary has no token for the byte 0x{missing[0]:02x} of the text")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _size(text: str) -> int:
    if len(text) > MAX_TEXT:
        raise LimitError(f"a text of more than {MAX_TEXT} bytes")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise FormatError("the text has lone surrogates") from None
