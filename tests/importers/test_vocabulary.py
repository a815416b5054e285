"""The vocabulary's one encoding, and its refusal of everything else."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import MAX_TOKEN, MAX_TOKENIZER
from proofcompute.models.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
    byte_alphabet,
)
from proofcompute.tokens import Tokenizer

BPE = Vocabulary(
    kind="bpe",
    pre="gpt-2",
    tokens=(b"<end>", b"a", b"b", b"ab", b"aba", b"\xc3", b"\xa9", b"<tool>", b"<pad>", b"<unk>", b"<begin>"),
    types=bytes([CONTROL] + [NORMAL] * 6 + [USER_DEFINED, UNUSED, UNKNOWN, CONTROL]),
    merges=((1, 2), (3, 1)),
    bos=10,
    eos=0,
    unknown=9,
    end_ids=(0,),
    add_bos=True,
)
SPM = Vocabulary(
    kind="spm",
    pre="",
    tokens=(b"<unk>", b"<s>", b"</s>", b"a", b" ", b" a", b"a"),
    types=bytes([UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL]),
    scores=tuple(wire.f32_bits(x) for x in (0.0, 0.0, 0.0, 0.0, -1.5, -2.5, -3.5)),
    bos=1,
    eos=2,
    end_ids=(2,),
    add_space=True,
)


@pytest.mark.parametrize("vocabulary", [BPE, SPM], ids=["bpe", "spm"])
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
    token_ids = st.none() | st.integers(0, len(tokens) - 1)
    vocabulary = Vocabulary(
        kind="bpe",
        pre=data.draw(st.text(st.characters(codec="utf-8"), max_size=8)),
        tokens=tuple(tokens),
        types=types,
        bos=data.draw(token_ids),
        unknown=data.draw(token_ids),
        end_ids=tuple(ends),
    )
    encoded = vocabulary.encode()
    assert Vocabulary.decode(encoded) == vocabulary
    assert Vocabulary.decode(encoded).encode() == encoded


def test_text_bytes_prints_text_and_user_defined_tokens_only() -> None:
    assert BPE.text_bytes([10, 3, 5, 6, 7, 8, 9, 0, 4]) == b"ab\xc3\xa9<tool>aba"
    assert BPE.text_bytes([]) == b""
    assert SPM.text_bytes([1, 5, 3, 0, 2]) == b" aa"
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


INCONSISTENT: dict[str, tuple[Vocabulary, dict[str, Any], type[InputError], str]] = {
    "no tokens": (BPE, {"tokens": (), "types": b""}, FormatError, "no tokens"),
    "kind": (BPE, {"kind": "wordpiece"}, UnsupportedError, "kind 'wordpiece'"),
    "long name": (BPE, {"pre": "x" * 257}, LimitError, "pre-tokenizer"),
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
    "byte twice": (SPM, {"types": SPM.types[:6] + b"\6"}, FormatError, "two byte tokens for 0x61"),
    "long byte": (SPM, {"types": SPM.types[:5] + b"\6\1"}, FormatError, "token 5 is no byte"),
    "merge outside": (BPE, {"merges": ((1, 11),)}, FormatError, "merge 0 names token 11"),
    "merge negative": (BPE, {"merges": ((-1, 1),)}, FormatError, "merge 0 names"),
    "merge of control": (BPE, {"merges": ((1, 0),)}, FormatError, "not of type normal"),
    "merge to nothing": (BPE, {"merges": ((2, 2),)}, FormatError, "merge 0 gives bytes that are no token"),
    "merge twice": (BPE, {"merges": ((1, 2), (1, 2))}, FormatError, "merge 1 occurs twice"),
    "merges in spm": (SPM, {"merges": ((4, 6),)}, FormatError, "merges in a vocabulary of kind spm"),
    "scores in bpe": (BPE, {"scores": (0,) * 11}, FormatError, "11 scores"),
    "scores missing": (SPM, {"scores": ()}, FormatError, "0 scores for 7"),
    "score NaN": (SPM, {"scores": (0x7FC00000,) * 7}, FormatError, "not finite"),
    "pre in spm": (SPM, {"pre": "gpt-2"}, FormatError, "pre-tokenizer in a vocabulary of kind spm"),
    "bos outside": (BPE, {"bos": 11}, FormatError, "bos is token 11"),
    "unknown negative": (BPE, {"unknown": -1}, FormatError, "unknown is token -1"),
    "ends unsorted": (BPE, {"end_ids": (10, 0)}, FormatError, "not ascending"),
    "ends twice": (BPE, {"end_ids": (0, 0)}, FormatError, "not ascending"),
    "end outside": (BPE, {"end_ids": (0, 11)}, FormatError, "not ascending"),
    "end is text": (BPE, {"end_ids": (0, 1)}, FormatError, "not of type control"),
    "eos no end": (BPE, {"end_ids": (10,)}, FormatError, "eos is not among end_ids"),
    "add_bos": (BPE, {"bos": None}, FormatError, "add_bos without"),
    "add_space": (BPE, {"add_space": True}, FormatError, "add_space in"),
}


@pytest.mark.parametrize("name", INCONSISTENT)
def test_refuses_inconsistency(name: str) -> None:
    vocabulary, changes, error, words = INCONSISTENT[name]
    with pytest.raises(error, match=words) as caught:
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
    "version 2": (altered(0, 2), UnsupportedError),
    "a field less": (wire.encode([1]), FormatError),
    "a byte more": (BPE.encode() + b"\0", FormatError),
    "kind as bytes": (altered(1, b"bpe"), FormatError),
    "tokens as text": (altered(3, "tokens"), FormatError),
    "tokens short": (altered(3, b"".join(BPE.tokens)[:-1]), FormatError),
    "tokens long": (altered(3, b"".join(BPE.tokens) + b"x"), FormatError),
    "lengths short": (altered(4, b"\1\0"), FormatError),
    "merges in thirds": (altered(6, bytes(3)), FormatError),
    "scores in quarters": (altered(7, bytes(3)), FormatError),
    "scores for other tokens": (altered(7, bytes(4)), FormatError),
    "scores for too many": (altered(7, bytes(48)), LimitError),
    "bos -2": (altered(8, -2), FormatError),
    "bos 11": (altered(8, 11), FormatError),
    "ends in halves": (altered(11, bytes(4)), FormatError),
    "add_bos 2": (altered(12, 2), FormatError),
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


@pytest.mark.parametrize("vocabulary", [BPE, SPM], ids=["bpe", "spm"])
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
