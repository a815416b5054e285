"""Checks the tokens of a vocabulary, how they are found, and their merges. Part of making a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, compress

import numpy as np
import numpy.typing as npt

from proofcompute.errors import FormatError, LimitError
from proofcompute.limits import MAX_TOKEN
from proofcompute.models.text_parts import SPACE
from proofcompute.models.token_types import BYTE, EVERY_WAY, FOUND, NORMAL, UNUSED
from proofcompute.models.writing import BYTES, SPACES, WORDS, byte_name

__all__ = ["check_finding", "check_merges", "check_tokens"]


def check_tokens(tokens: Sequence[bytes], types: bytes, writing: str, text_ids: Mapping[bytes, int]) -> None:
    """Raise FormatError or LimitError for a token that its type or the way of writing does not allow."""
    kinds = np.frombuffer(types, np.uint8)
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    if (longest := int(lengths.max())) > MAX_TOKEN:
        raise LimitError(
            f"vocabulary: {longest} bytes of token {int(lengths.argmax())}, the limit is {MAX_TOKEN}"
        )
    empty = (lengths == 0) & ((kinds == NORMAL) | (kinds == BYTE))
    if empty.any():
        raise FormatError(f"vocabulary: token {int(empty.argmax())} is empty")
    wrong = (kinds == BYTE) & ((lengths != 1) | (writing != SPACES))
    if wrong.any():
        raise FormatError(f"vocabulary: token {int(wrong.argmax())} is no byte token, written as {writing}")
    single = [tokens[i] for i in np.flatnonzero(kinds == BYTE).tolist()]
    if len(set(single)) != len(single):
        again = next(t for i, t in enumerate(single) if t in single[:i])
        raise FormatError(f"vocabulary: there are two byte tokens for 0x{again.hex()}")
    names = {byte_name(token[0]).encode() for token in single}
    if twice := names.intersection(text_ids):
        raise FormatError(f"vocabulary: text and a byte token have the name {min(twice).decode()}")
    if writing != BYTES:
        _check_text(tokens, kinds == NORMAL, writing, text_ids)


def _check_text(
    tokens: Sequence[bytes], normal: npt.NDArray[np.bool_], writing: str, text_ids: Mapping[bytes, int]
) -> None:
    """Check that the tokens which the model writes are text, in the one way of writing it."""
    mark = SPACE.encode() if writing == SPACES else b" ##"
    joined = b"\n".join(compress(tokens, normal.tolist()))  # a line break belongs to no other character
    spaced = writing == WORDS and b" " in text_ids
    if mark not in joined and not spaced and _is_text(joined):
        return
    for i in np.flatnonzero(normal).tolist():
        token = tokens[i]
        if writing == SPACES and mark in token:
            raise FormatError(f"vocabulary: token {i} prints U+2581, which files write for a space")
        if writing == WORDS and (token == b" " or token.startswith(mark)):
            raise FormatError(f"vocabulary: token {i} is a space, or begins a word with ##")
        if not _is_text(token):
            raise FormatError(f"vocabulary: token {i} is not UTF-8")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_finding(finding: bytes, tokens: Sequence[bytes], types: bytes) -> None:
    """Raise FormatError for a way of finding that does not exist, or that a token's type does not allow."""
    how, kinds = np.frombuffer(finding, np.uint8), np.frombuffer(types, np.uint8)
    if len(how) != len(kinds) or (how > EVERY_WAY).any():
        raise FormatError(f"vocabulary: {len(how)} ways of finding for {len(kinds)} tokens, or unknown")
    named = np.fromiter(map(bool, tokens), np.bool_, len(tokens))
    wrong = (how != 0) & (((how & FOUND) == 0) | ~named | (kinds == UNUSED) | (kinds == BYTE))
    if wrong.any():
        raise FormatError(f"vocabulary: token {int(wrong.argmax())} cannot be found in a text")


def check_merges(
    merges: Sequence[tuple[int, int]], tokens: Sequence[bytes], types: bytes, text_ids: Mapping[bytes, int]
) -> None:
    """Raise FormatError for a merge that is not of two normal tokens into a third, or that occurs twice."""
    if not merges:
        return
    ids = list(chain.from_iterable(merges))
    n = len(tokens)
    if min(ids) < 0 or max(ids) >= n:
        rank = next(i for i, pair in enumerate(merges) if not (0 <= min(pair) and max(pair) < n))
        raise FormatError(f"vocabulary: merge {rank} names token {max(merges[rank])} of {n}")
    special = np.frombuffer(types, np.uint8)[ids] != NORMAL
    if special.any():
        rank = int(special.argmax()) // 2
        raise FormatError(f"vocabulary: merge {rank} names a token that is not of type normal")
    if len(text_ids) < types.count(NORMAL):
        again = next((i for i in ids if text_ids[tokens[i]] != i), None)
        if again is not None:
            rank = ids.index(again) // 2
            raise FormatError(f"vocabulary: merge {rank} names token {again}, whose bytes another has")
    joined = [tokens[left] + tokens[right] for left, right in merges]
    if not all(map(text_ids.__contains__, joined)):
        rank = next(i for i, text in enumerate(joined) if text not in text_ids)
        raise FormatError(f"vocabulary: merge {rank} gives bytes that are no token")
    if len(set(merges)) != len(merges):
        first: dict[tuple[int, int], int] = {}
        rank = next(i for i, pair in enumerate(merges) if first.setdefault(pair, i) != i)
        raise FormatError(f"vocabulary: merge {rank} occurs twice")
