"""Reads tokens, merges and scores as GGUF files write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofcompute.errors import FormatError, LimitError
from proofcompute.limits import MAX_VOCABULARY
from proofcompute.models.text_parts import SPACE
from proofcompute.models.vocabulary import BYTE, NORMAL
from proofcompute.models.writing import SPACES, WORDS, printed

__all__ = ["merges_of_names", "merges_of_scores", "printed_tokens", "score_bits", "token_text"]


def printed_tokens(way: str, names: Sequence[str], kinds: Sequence[int]) -> tuple[bytes, ...]:
    """Return the bytes of each token; FormatError for a name that a token of its type cannot have."""
    return tuple(_token(way, i, name, kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True)))


def token_text(way: str, name: str) -> str:
    """Return the text that a normal token prints, or its name if that is not UTF-8."""
    try:
        return _token(way, 0, name, NORMAL).decode()
    except (FormatError, UnicodeDecodeError):
        return name


def _token(way: str, i: int, name: str, kind: int) -> bytes:
    if kind == BYTE and way == SPACES:
        return _byte(i, name)
    if kind != NORMAL:
        return name.encode()
    if way == WORDS:  # GGUF marks what begins a word, where WordPiece marks what continues one
        return name.replace(SPACE, " ", 1).encode()
    try:
        return printed(way, name)
    except FormatError as e:
        raise FormatError(f"token {i} has {e}") from None


def _byte(i: int, name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        try:
            return bytes.fromhex(name[3:5])
        except ValueError:
            pass
    raise FormatError(f"token {i} is a byte token, but not written <0xNN>")


def merges_of_names(
    merges: Sequence[str], names: Sequence[str], kinds: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return merges, which files write as two tokens with a space between, as pairs of ids."""
    if len(merges) > MAX_VOCABULARY:
        raise LimitError(f"{len(merges)} merges, the limit is {MAX_VOCABULARY}")
    ids: dict[str, int] = {}
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if kind == NORMAL:
            ids.setdefault(name, i)
    pairs = []
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        a, b = ids.get(left), ids.get(right)
        if a is None or b is None:
            raise FormatError(f"merge {rank} names a token that does not exist or is not of type normal")
        pairs.append((a, b))
    return tuple(pairs)


def merges_of_scores(
    tokens: Sequence[bytes], kinds: Sequence[int], scores: Sequence[float]
) -> tuple[tuple[int, int], ...]:
    """Return the merges of SentencePiece's BPE: every way to make a token of two, the best score first.

    Of merges with equal scores the one with the longer left part comes first, then the longer right part,
    then the one of the earlier token: the order in which ``transformers`` writes a tokenizer.json.
    SentencePiece itself joins the leftmost of two places; that makes a difference only where one token can be
    made in two ways that overlap. Raises FormatError for a score that is not finite, LimitError for too many
    merges.
    """
    if not np.isfinite(np.array(scores)).all():
        raise FormatError("tokenizer.ggml.scores has an element that is not finite")
    ids: dict[str, int] = {}
    for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind == NORMAL:
            ids.setdefault(token.decode(), i)
    found: list[tuple[float, int, int, int, int]] = []
    for text, i in ids.items():
        ways = [
            (ids[text[:cut]], ids[text[cut:]], cut)
            for cut in range(1, len(text))
            if text[:cut] in ids and text[cut:] in ids
        ]
        found += [(scores[i], cut, len(text) - cut, a, b) for a, b, cut in sorted(ways)]
        if len(found) > MAX_VOCABULARY:
            raise LimitError(f"more than {MAX_VOCABULARY} merges")
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return tuple((a, b) for _, _, _, a, b in found)


def score_bits(scores: Sequence[float], n: int) -> tuple[int, ...]:
    """Return scores as binary64 bit patterns. Raises FormatError unless there is one for each token."""
    if len(scores) != n:
        raise FormatError(f"there are {len(scores)} scores for {n} tokens")
    bits: list[int] = np.array(scores, np.float64).view(np.uint64).tolist()
    return tuple(bits)
