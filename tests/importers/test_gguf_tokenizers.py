"""A GGUF file and a tokenizer.json that describe one tokenizer give the same tokens for every text."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importers.test_tokenizer_json import ANY, ours
from importers.tokenizer_files import SPACE, TEXTS, file
from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.gguf_tokens import merges_of_scores
from proofcompute.importers.gguf_vocabulary import read_vocabulary as read_gguf
from proofcompute.importers.huggingface.tokenizer import read_vocabulary as read_json
from proofcompute.limits import MIB
from proofcompute.models.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from proofcompute.tokens import Tokenizer

BYTE_LEVEL = {
    "gpt-2": "gpt-2",
    "llama 3": "llama-bpe",
    "qwen 2": "qwen2",
    "starcoder 2, smollm, granite": "starcoder",
    "cohere": "command-r",
    "glm 4": "glm4",
    "gpt-oss": "gpt-4o",
    "mistral nemo": "tekken",
    "qwen 3.5": "qwen35",
    "deepseek 2": "deepseek-llm",
    "deepseek 3": "deepseek-v3",
}


def metadata(tokenizer: Mapping[str, Any], model: str, **more: Any) -> dict[str, Any]:
    """What a converter writes: all tokens by id, with types."""
    vocab = tokenizer["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else [(name, i) for i, (name, _) in enumerate(vocab)]
    names = {i: (name, NORMAL) for name, i in pairs}
    for i, (name, _) in names.items():
        if model != "gpt2" and len(name) == 6 and name.startswith("<0x"):
            names[i] = (name, BYTE)
    for token in tokenizer["added_tokens"]:
        names[token["id"]] = (token["content"], CONTROL if token["special"] else USER_DEFINED)
    if model == "bert":
        names = {i: (bert(name) if kind == NORMAL else name, kind) for i, (name, kind) in names.items()}
    columns = {"tokens": [names[i][0] for i in range(len(names))]}
    fields = {"model": model, **columns, "token_type": [names[i][1] for i in range(len(names))], **more}
    return {
        f"tokenizer.ggml.{k}": tuple(v) if isinstance(v, list) else v
        for k, v in fields.items()
        if v is not None
    }


def bert(name: str) -> str:
    return name.removeprefix("##") if name.startswith("##") else SPACE + name


@cache
def from_gguf(name: str) -> Tokenizer:
    tokenizer = json.loads(file(name))
    model = tokenizer["model"]
    if name in BYTE_LEVEL:
        merges = [" ".join(merge) for merge in model["merges"]]
        found = metadata(tokenizer, "gpt2", pre=BYTE_LEVEL[name], merges=merges)
        bos = ours(name).vocabulary.before[:1]
        if bos and name != "glm 4":
            found |= {"tokenizer.ggml.bos_token_id": bos[0], "tokenizer.ggml.add_bos_token": True}
        elif name in ("llama 3", "mistral nemo"):
            found["tokenizer.ggml.add_bos_token"] = False
    elif name == "t5":
        letters = base64.b64decode(tokenizer["normalizer"]["precompiled_charsmap"])
        found = metadata(
            tokenizer,
            "t5",
            scores=[*(float(score) for _, score in model["vocab"]), -99.0, -99.0],
            precompiled_charsmap=list(letters),
            unknown_token_id=2,
            eos_token_id=1,
            remove_extra_whitespaces=True,
        )
    else:
        lower = tokenizer["normalizer"]["lowercase"]
        found = metadata(
            tokenizer,
            "bert",
            cls_token_id=2,
            seperator_token_id=3,
            unknown_token_id=1,
            **{"normalizer.lowercase": lower},
        )
    return Tokenizer(read_gguf(found))


@pytest.mark.parametrize("name", [*BYTE_LEVEL, "t5", "bert"])
@settings(max_examples=25)
@given(text=ANY, more=st.sampled_from(TEXTS))
def test_the_same_tokens(name: str, text: str, more: str) -> None:
    text += more
    for flagged in ("<mask>", "<one>", "<s>"):  # GGUF files say nothing of white space beside names
        if name == "t5":
            text = text.replace(flagged, "")
    if name == "t5" or name == "bert":
        assert from_gguf(name).vocabulary.before == ours(name).vocabulary.before
        assert from_gguf(name).vocabulary.after == ours(name).vocabulary.after
    for trusted in (True, False):
        assert from_gguf(name).encode(text, trusted) == ours(name).encode(text, trusted)


@pytest.mark.parametrize("name", [n for n in BYTE_LEVEL if n not in ("glm 4", "qwen 2", "deepseek 3")])
def test_the_same_vocabulary(name: str) -> None:
    """GGUF does not say whether a name is searched in the normalised text, nor what glm-4 puts before one."""
    a, b = from_gguf(name).vocabulary, ours(name).vocabulary
    assert (a.tokens, a.types, a.merges, a.splitters) == (b.tokens, b.types, b.merges, b.splitters)
    assert (a.normalisers, a.before, a.ignore_merges) == (b.normalisers, b.before, b.ignore_merges)


# -- merges and scores -------------------------------------------------------------------------------------
def transformers_merges(scores: Mapping[str, float]) -> list[list[str]]:
    """The merges that transformers makes of scores, read from its description: by score, then by lengths."""
    ids = {name: i for i, name in enumerate(scores)}
    ways = []
    for name in scores:
        local = [(name[:n], name[n:]) for n in range(1, len(name)) if name[:n] in ids and name[n:] in ids]
        ways += [(scores[name], a, b) for a, b in sorted(local, key=lambda w: (ids[w[0]], ids[w[1]]))]
    ways.sort(key=lambda w: (w[0], len(w[1]), len(w[2])), reverse=True)
    return [[a, b] for _, a, b in ways]


LETTERS = st.text(f"ab{SPACE}", min_size=1, max_size=4)
SCORED = st.dictionaries(LETTERS, st.integers(-20, -1), min_size=1, max_size=25)


@settings(max_examples=80)
@given(scored=SCORED, text=st.text("ab ", max_size=24), space=st.booleans())
def test_scores_and_the_merges_made_of_them(scored: dict[str, int], text: str, space: bool) -> None:
    words = {**dict.fromkeys(f"ab{SPACE}", -30), **scored}
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *words]
    scores = [*[0.0] * 259, *map(float, words.values())]
    prepend = [{"type": "Prepend", "prepend": SPACE}] if space else []
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": names[i], "special": True} for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space else []),
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {name: i for i, name in enumerate(names)},
            "merges": transformers_merges(words),
        },
    }
    from_json = read_json(tokenizer)
    gguf = read_gguf(
        metadata(
            tokenizer, "llama", scores=scores, add_space_prefix=space, add_bos_token=False, bos_token_id=1
        )
    )
    assert (gguf.merges, gguf.normalisers) == (from_json.merges, from_json.normalisers)
    assert Tokenizer(gguf).encode(text, special=True) == Tokenizer(from_json).encode(text, special=True)


@settings(max_examples=150)
@given(scored=SCORED, text=st.text("ab ", max_size=16))
def test_merges_join_as_sentencepiece_does_unless_ways_overlap(scored: dict[str, int], text: str) -> None:
    """With distinct scores and one way to make each token, the leftmost pair of the best score is joined."""
    names = [name.replace(SPACE, " ") for name in {**dict.fromkeys(f"ab{SPACE}"), **scored}]
    order = {name: -float(i) for i, name in enumerate(names)}
    ways = merges_of_scores([n.encode() for n in names], [NORMAL] * len(names), [order[n] for n in names])
    if len({names[a] + names[b] for a, b in ways}) < len(ways):
        return
    pieces = list(text)
    while True:
        pairs = [(order[a + b], -i) for i, (a, b) in enumerate(pairwise(pieces)) if a + b in order]
        if not pairs:
            break
        i = -max(pairs)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    merges = [(names[a], names[b]) for a, b in ways]
    by_rank = list(text)
    while True:
        ranks = [(merges.index(p), i) for i, p in enumerate(pairwise(by_rank)) if p in merges]
        if not ranks:
            break
        i = min(ranks)[1]
        by_rank[i : i + 2] = [by_rank[i] + by_rank[i + 1]]
    assert by_rank == pieces


def test_too_many_merges_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.importers.gguf_tokens.MAX_VOCABULARY", 3)
    with pytest.raises(LimitError, match="more than 3 merges"):
        merges_of_scores([b"a" * n for n in range(1, 8)], [NORMAL] * 7, [0.0] * 7)


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "scores": ("t5", {"scores": [1.0]}, FormatError, "1 scores for"),
    "map": ("t5", {"precompiled_charsmap": [1, 2, 3]}, FormatError, "a map of characters of 3 bytes"),
    "map of no bytes": ("t5", {"precompiled_charsmap": [300]}, FormatError, "an element that is no byte"),
    "long map": (
        "t5",
        {"precompiled_charsmap": [0] * (MIB + 1)},
        LimitError,
        "precompiled_charsmap has",
    ),
    "separator": ("t5", {"add_sep_token": True}, UnsupportedError, "add_sep_token is not supported"),
    "no eos": ("t5", {"eos_token_id": 10**6}, LimitError, "eos_token_id"),
    "unknown key": ("t5", {"treat_whitespace_as_suffix": True}, UnsupportedError, "could change a text's"),
    "unescaped": ("t5", {"escape_whitespaces": False}, UnsupportedError, "escape_whitespaces"),
    "two spaces": ("t5", {"tokens": "x y"}, FormatError, "has a space"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    family, changes, error, words = REFUSED[name]
    tokenizer = json.loads(file(family))
    found = metadata(
        tokenizer,
        "t5",
        scores=[0.0] * len(from_gguf("t5").vocabulary.tokens),
        unknown_token_id=2,
        eos_token_id=1,
    )
    read_gguf(found)
    for key, value in changes.items():
        if key == "tokens":
            value = [*found["tokenizer.ggml.tokens"][:9], value, *found["tokenizer.ggml.tokens"][10:]]
        found[f"tokenizer.ggml.{key}"] = tuple(value) if isinstance(value, list) else value
    with pytest.raises(error, match=words) as caught:
        read_gguf(found)
    assert type(caught.value) is error


def test_the_unknown_token_of_a_file_is_no_text() -> None:
    tokenizer = json.loads(file("t5"))
    found = metadata(tokenizer, "t5", scores=[0.0] * len(from_gguf("t5").vocabulary.tokens), eos_token_id=1)
    kinds = list(found["tokenizer.ggml.token_type"])
    kinds[2] = NORMAL
    found["tokenizer.ggml.token_type"] = tuple(kinds)
    vocabulary = read_gguf(found)
    assert (vocabulary.unknown, vocabulary.types[2]) == (2, UNKNOWN)
