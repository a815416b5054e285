"""The vocabulary's one encoding, and its refusal of everything else."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.charsmap_writer import charsmap
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import MAX_TOKEN, MAX_TOKENIZER
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.text_parts import SPACE, Part
from proofcompute.models.vocabulary import (
    ALONE,
    BYTE,
    CONTROL,
    FOUND,
    LEFT,
    NORMAL,
    NORMALISED,
    RIGHT,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)
from proofcompute.models.writing import byte_alphabet
from proofcompute.tokens import Tokenizer

BPE = Vocabulary(
    kind="bpe",
    tokens=(b"<end>", b"a", b"b", b"ab", b"aba", b"\xc3", b"\xa9", b"<tool>", b"<pad>", b"<unk>", b"<begin>"),
    types=bytes([CONTROL] + [NORMAL] * 6 + [USER_DEFINED, UNUSED, UNKNOWN, CONTROL]),
    splitters=NAMED_RULES["gpt-2"].splitters,
    merges=((1, 2), (3, 1)),
    bos=10,
    eos=0,
    unknown=9,
    end_ids=(0,),
    before=(10,),
)
SPM = Vocabulary(
    kind="bpe",
    tokens=(b"<unk>", b"<s>", b"</s>", b"a", b" ", b" a", b"b"),
    types=bytes([UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL]),
    normalisers=(Part("prepend", (SPACE,)), Part("replace", (" ", SPACE))),
    bos=1,
    eos=2,
    unknown=0,
    end_ids=(2,),
    fuse_unknown=True,
    strip_space=True,
)


def bits(*scores: float) -> tuple[int, ...]:
    return tuple(np.array(scores, np.float64).view(np.uint64).tolist())


UNIGRAM = Vocabulary(
    kind="unigram",
    tokens=SPM.tokens,
    types=SPM.types,
    splitters=(Part("metaspace", ("first", 1)),),
    normalisers=(Part("charsmap", (charsmap({"\ufb01": "fi"}),)),),
    scores=bits(0.0, 0.0, 0.0, 0.0, -1.5, -2.5, -3.5),
    finding=bytes([FOUND, FOUND | LEFT, FOUND | RIGHT | NORMALISED, 0, 0, FOUND | ALONE, 0]),
    bos=1,
    eos=2,
    unknown=0,
    end_ids=(2,),
    after=(2,),
)
WORDPIECE = Vocabulary(
    kind="wordpiece",
    tokens=(b"[UNK]", b"[CLS]", b" a", b"a", b"b"),
    types=bytes([UNKNOWN, CONTROL, NORMAL, NORMAL, NORMAL]),
    splitters=(Part("bert"),),
    normalisers=(Part("bert", (1, 1, 2, 1)),),
    unknown=0,
    before=(1,),
    longest_word=100,
    strip_space=True,
)
ALL = {"bpe": BPE, "spm": SPM, "unigram": UNIGRAM, "wordpiece": WORDPIECE}


@pytest.mark.parametrize("vocabulary", ALL.values(), ids=ALL)
def test_round_trip(vocabulary: Vocabulary) -> None:
    data = vocabulary.encode()
    assert Vocabulary.decode(data) == vocabulary
    assert Vocabulary.decode(data).encode() == data


@given(st.data())
def test_round_trip_of_any_vocabulary(data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=40, unique=True))
    types = bytes(
        data.draw(st.sampled_from((NORMAL, CONTROL, USER_DEFINED, UNUSED, UNKNOWN))) for _ in tokens
    )
    ends = [i for i, kind in enumerate(types) if kind == CONTROL]
    special = [i for i, kind in enumerate(types) if kind in (CONTROL, UNKNOWN)]
    token_ids = st.none() | st.integers(0, len(tokens) - 1)
    vocabulary = Vocabulary(
        kind="bpe",
        tokens=tuple(tokens),
        types=types,
        splitters=NAMED_RULES[data.draw(st.sampled_from(sorted(NAMED_RULES)))].splitters,
        bos=data.draw(token_ids),
        unknown=data.draw(st.none() | st.sampled_from(special)) if special else None,
        end_ids=tuple(ends),
    )
    encoded = vocabulary.encode()
    assert Vocabulary.decode(encoded) == vocabulary
    assert Vocabulary.decode(encoded).encode() == encoded


def test_text_bytes_prints_text_and_user_defined_tokens_only() -> None:
    assert BPE.text_bytes([10, 3, 5, 6, 7, 8, 9, 0, 4]) == b"ab\xc3\xa9<tool>aba"
    assert BPE.text_bytes([]) == b""
    assert SPM.text_bytes([1, 5, 3, 0, 2]) == b" aa"
    assert WORDPIECE.text_bytes([1, 2, 4, 0, 2]) == b" ab a"
    assert BPE.special_ids == {0, 9, 10}
    for bad in (-1, 11, 2**40):
        with pytest.raises(InputError, match="not in a vocabulary of 11"):
            BPE.text_bytes([1, bad])


def test_byte_alphabet() -> None:
    letters = byte_alphabet()
    assert len(letters) == len(set(letters)) == 256
    # the best known ones: space, line feed, the soft hyphen (the last that is moved), and those that stay
    assert (letters[0x20], letters[0x0A], letters[0xAD]) == ("Ġ", "Ċ", "Ń")
    assert letters[ord("A")] == "A"
    assert all(letter.isprintable() and not letter.isspace() for letter in letters)


PARTS = (Part("nfc"),)
INCONSISTENT: dict[str, tuple[Vocabulary, dict[str, Any], type[InputError], str]] = {
    "no tokens": (BPE, {"tokens": (), "types": b""}, FormatError, "no tokens"),
    "kind": (BPE, {"kind": "wordlevel"}, UnsupportedError, "kind 'wordlevel'"),
    "types short": (BPE, {"types": BPE.types[:-1]}, FormatError, "10 types for 11 tokens"),
    "type 0": (BPE, {"types": b"\0" + BPE.types[1:]}, FormatError, "outside 1..6"),
    "type 7": (BPE, {"types": b"\7" + BPE.types[1:]}, FormatError, "outside 1..6"),
    "empty token": (BPE, {"tokens": (b"<end>", b"", *BPE.tokens[2:])}, FormatError, "token 1 is empty"),
    "long token": (
        BPE,
        {"tokens": (b"x" * (MAX_TOKEN + 1), *BPE.tokens[1:])},
        LimitError,
        "bytes of token 0",
    ),
    "merge of the second of two": (
        BPE,
        {"tokens": (*BPE.tokens[:6], b"a", *BPE.tokens[7:]), "merges": ((6, 2),)},
        FormatError,
        "merge 0 names token 6, whose bytes another has",
    ),
    "byte in bpe": (BPE, {"types": BPE.types[:6] + b"\6" + BPE.types[7:]}, FormatError, "token 6 is no byte"),
    "byte twice": (
        SPM,
        {"types": SPM.types[:6] + b"\6", "tokens": (*SPM.tokens[:6], b"a")},
        FormatError,
        "two byte tokens for 0x61",
    ),
    "long byte": (SPM, {"types": SPM.types[:5] + b"\6\1"}, FormatError, "token 5 is no byte"),
    "text like a byte": (
        SPM,
        {"tokens": (*SPM.tokens[:6], b"<0x61>")},
        FormatError,
        "text and a byte token have the name <0x61>",
    ),
    "text with U+2581": (SPM, {"tokens": (*SPM.tokens[:6], SPACE.encode())}, FormatError, "token 6 prints U"),
    "text is no text": (SPM, {"tokens": (*SPM.tokens[:6], b"\xff")}, FormatError, "token 6 is not UTF-8"),
    "a word is a space": (WORDPIECE, {"tokens": (*WORDPIECE.tokens[:4], b" ")}, FormatError, "token 4 is a"),
    "a word with ##": (WORDPIECE, {"tokens": (*WORDPIECE.tokens[:4], b" ##x")}, FormatError, "begins a word"),
    "merge outside": (BPE, {"merges": ((1, 11),)}, FormatError, "merge 0 names token 11"),
    "merge negative": (BPE, {"merges": ((-1, 1),)}, FormatError, "merge 0 names"),
    "merge of control": (BPE, {"merges": ((1, 0),)}, FormatError, "not of type normal"),
    "merge to nothing": (BPE, {"merges": ((2, 2),)}, FormatError, "merge 0 gives bytes that are no token"),
    "merge twice": (BPE, {"merges": ((1, 2), (1, 2))}, FormatError, "merge 1 occurs twice"),
    "merges in unigram": (UNIGRAM, {"merges": ((4, 6),)}, FormatError, "merges in a vocabulary of kind uni"),
    "scores in bpe": (BPE, {"scores": (0,) * 11}, FormatError, "11 scores"),
    "scores missing": (UNIGRAM, {"scores": ()}, FormatError, "0 scores for 7"),
    "score NaN": (UNIGRAM, {"scores": bits(*[math.nan] * 7)}, FormatError, "not finite"),
    "score infinite": (UNIGRAM, {"scores": bits(*[math.inf] * 7)}, FormatError, "not finite"),
    "bos outside": (BPE, {"bos": 11}, FormatError, "bos is token 11"),
    "unknown negative": (BPE, {"unknown": -1}, FormatError, "unknown is token -1"),
    "unknown is text": (BPE, {"unknown": 1}, FormatError, "unknown is a token of type control or unknown"),
    "ends unsorted": (BPE, {"end_ids": (10, 0)}, FormatError, "not ascending"),
    "ends twice": (BPE, {"end_ids": (0, 0)}, FormatError, "not ascending"),
    "end outside": (BPE, {"end_ids": (0, 11)}, FormatError, "not ascending"),
    "end is text": (BPE, {"end_ids": (0, 1)}, FormatError, "not of type control"),
    "eos no end": (BPE, {"end_ids": (10,)}, FormatError, "eos is not among end_ids"),
    "text before": (BPE, {"before": (1,)}, FormatError, "in front of a text is a token of type control"),
    "before outside": (BPE, {"before": (11,)}, FormatError, "in front of a text is token 11"),
    "many after": (BPE, {"after": (0,) * 17}, LimitError, "17 tokens behind a text"),
    "no unknown": (UNIGRAM, {"unknown": None}, FormatError, "without an unknown token"),
    "longest word": (WORDPIECE, {"longest_word": 0}, FormatError, "longest_word is 0"),
    "longest word of bpe": (BPE, {"longest_word": 1}, FormatError, "longest_word is 1"),
    "ignore_merges": (UNIGRAM, {"ignore_merges": True}, FormatError, "ignore_merges or fuse_unknown"),
    "finding short": (BPE, {"finding": b"\1"}, FormatError, "1 ways of finding for 11"),
    "finding 32": (BPE, {"finding": b"\x21" * 11}, FormatError, "or unknown"),
    "flags without finding": (BPE, {"finding": b"\2" + bytes(10)}, FormatError, "token 0 cannot be found"),
    "unused is found": (BPE, {"finding": bytes(8) + b"\1\0\0"}, FormatError, "token 8 cannot be found"),
    "bytes first": (BPE, {"splitters": BPE.splitters * 2}, FormatError, "behind the alphabet of bytes"),
    "bytes in unigram": (UNIGRAM, {"splitters": BPE.splitters}, UnsupportedError, "byte-level tokens"),
    "many parts": (BPE, {"normalisers": PARTS * 17}, LimitError, "17 normalisers"),
    "unknown part": (BPE, {"normalisers": (Part("nmt"),)}, UnsupportedError, "normaliser 'nmt'"),
    "a splitter first": (BPE, {"normalisers": (Part("digits", (1,)),)}, UnsupportedError, "'digits'"),
    "argument missing": (BPE, {"normalisers": (Part("prepend"),)}, FormatError, "has 0 arguments, not 1"),
    "argument's kind": (BPE, {"normalisers": (Part("prepend", (1,)),)}, FormatError, "expected text"),
    "flag 2": (BPE, {"normalisers": (Part("strip", (1, 2)),)}, FormatError, "2 is outside 0..1"),
    "empty text": (BPE, {"normalisers": (Part("replace", ("", "x")),)}, FormatError, "is empty"),
    "long text": (BPE, {"normalisers": (Part("prepend", ("x" * 1025,)),)}, LimitError, "more than 1024"),
    "rule": (BPE, {"normalisers": (Part("replace_rule", ("(a+)+", "")),)}, UnsupportedError, "'(a+)+'"),
    "scheme": (UNIGRAM, {"splitters": (Part("metaspace", ("last", 1)),)}, UnsupportedError, "is 'last'"),
    "growth": (
        BPE,
        {"normalisers": (Part("replace", ("a", "aaaaa")),) * 2},
        LimitError,
        "may grow more than 16 times",
    ),
    "two maps": (UNIGRAM, {"normalisers": UNIGRAM.normalisers * 2}, LimitError, "may grow more than 16"),
}


@pytest.mark.parametrize("name", INCONSISTENT)
def test_refuses_inconsistency(name: str) -> None:
    vocabulary, changes, error, words = INCONSISTENT[name]
    with pytest.raises(error, match=re.escape(words)) as caught:
        dataclasses.replace(vocabulary, **changes)
    assert type(caught.value) is error


def test_limits_on_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.models.vocabulary.MAX_VOCABULARY", 10)
    with pytest.raises(LimitError, match="11 tokens"):
        dataclasses.replace(BPE)
    monkeypatch.setattr("proofcompute.models.vocabulary.MAX_VOCABULARY", 11)
    with pytest.raises(LimitError, match="12 merges"):
        dataclasses.replace(BPE, merges=((1, 2),) * 12)


def altered(position: int, value: Any) -> bytes:
    fields = list(wire.as_list(wire.decode(BPE.encode(), limit=MAX_TOKENIZER, what="test"), "test"))
    fields[position] = value
    return wire.encode(fields)


ENCODED: dict[str, tuple[bytes, type[InputError]]] = {
    "empty": (b"", FormatError),
    "an integer": (wire.encode(1), FormatError),
    "no fields": (wire.encode([]), UnsupportedError),
    "version 1": (altered(0, 1), UnsupportedError),
    "version 3": (altered(0, 3), UnsupportedError),
    "a field less": (wire.encode([2]), FormatError),
    "a byte more": (BPE.encode() + b"\0", FormatError),
    "kind as bytes": (altered(1, b"bpe"), FormatError),
    "tokens as text": (altered(2, "tokens"), FormatError),
    "tokens short": (altered(2, b"".join(BPE.tokens)[:-1]), FormatError),
    "tokens long": (altered(2, b"".join(BPE.tokens) + b"x"), FormatError),
    "lengths short": (altered(3, b"\1\0"), FormatError),
    "finding short": (altered(5, b"\1"), FormatError),
    "finding absent": (altered(5, b""), FormatError),
    "merges in thirds": (altered(6, bytes(3)), FormatError),
    "scores in parts": (altered(7, bytes(3)), FormatError),
    "scores for other tokens": (altered(7, bytes(8)), FormatError),
    "scores for too many": (altered(7, bytes(96)), LimitError),
    "a part as text": (altered(8, ["nfc"]), FormatError),
    "a part without a name": (altered(8, [[]]), FormatError),
    "a part's name as bytes": (altered(8, [[b"nfc"]]), FormatError),
    "an argument as an array": (altered(8, [["prepend", ["x"]]]), FormatError),
    "many parts": (altered(9, [["digits", 1]] * 17), LimitError),
    "bos -2": (altered(10, -2), FormatError),
    "bos 11": (altered(10, 11), FormatError),
    "ends in halves": (altered(13, bytes(4)), FormatError),
    "before is text": (altered(14, bytes([1, 0, 0])), FormatError),
    "longest_word 2000": (altered(16, 2000), FormatError),
    "flag 2": (altered(17, 2), FormatError),
}


@pytest.mark.parametrize("name", ENCODED)
def test_refuses_other_encodings(name: str) -> None:
    data, error = ENCODED[name]
    with pytest.raises(error) as caught:
        Vocabulary.decode(data)
    assert type(caught.value) is error


def test_of_tokens_with_the_same_bytes_the_first_writes_and_all_print() -> None:
    """Published files have such pairs: padding with one name, words that two vocabularies had."""
    tokens = (b"<end>", b"a", b"b", b"ab", b"aba", b"a", b"ab", b"<tool>", b"<pad>", b"<pad>", b"<end>")
    found = dataclasses.replace(BPE, tokens=tokens)
    assert found.text_ids == {b"a": 1, b"b": 2, b"ab": 3, b"aba": 4}
    assert found.text_bytes([1, 5, 3, 6]) == b"aaabab"
    assert Vocabulary.decode(found.encode()) == found
    tokenizer = Tokenizer(found)
    assert tokenizer.encode("ab<end>", special=True) == [3, 0]
    assert Tokenizer(found, only="ab").encode("ab", special=False) == [3]


@pytest.mark.parametrize("vocabulary", ALL.values(), ids=ALL)
def test_mutated_encodings_are_refused_or_canonical(vocabulary: Vocabulary) -> None:
    data, rng = vocabulary.encode(), random.Random(7)
    for n in range(len(data)):
        with pytest.raises(FormatError):
            Vocabulary.decode(data[:n])
    for _ in range(2000):
        mutant = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        try:
            found = Vocabulary.decode(bytes(mutant))
        except InputError:
            continue
        assert found.encode() == mutant
