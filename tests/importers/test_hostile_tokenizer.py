"""Wrong and hostile tokenizers: a typed error that names file and field, and nothing else."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import normalizers

from importers.charsmap_writer import charsmap
from importers.tokenizer_files import MAP, SPACE, file
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.importers.huggingface.tokenizer import read_tokenizer, read_vocabulary
from proofcompute.models.charsmap import check_charsmap
from proofcompute.models.vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED
from proofcompute.tokens import PromptText, Tokenizer

Edit = Callable[[Any], None]


def put(path: str, value: Any) -> Edit:
    """Set a field, or remove it (``...``)."""

    def edit(tokenizer: Any) -> None:
        *steps, last = [int(step) if step.lstrip("-").isdigit() else step for step in path.split(".")]
        for step in steps:
            tokenizer = tokenizer[step]
        if value is ...:
            del tokenizer[last]
        elif isinstance(tokenizer, list) and last == len(tokenizer):
            tokenizer.append(value)
        else:
            tokenizer[last] = value

    return edit


def normalizer(kind: str, **fields: Any) -> Edit:
    return put("normalizer", {"type": kind, **fields})


def splitter(kind: str, **fields: Any) -> Edit:
    return put("pre_tokenizer", {"type": kind, **fields})


ADDED = {"id": 999, "content": "<x>", "special": True}
EVIL = "(a+)+$"
BYTE_FALLBACK = "byte_fallback of the model"
METASPACE = {"type": "Metaspace", "replacement": SPACE}
F, U, L = FormatError, UnsupportedError, LimitError


def text_around(tokenizer: Any) -> None:
    """Puts a word behind each text."""
    entry = tokenizer["post_processor"]["special_tokens"]["</s>"]
    entry |= {"ids": [9], "tokens": [tokenizer["model"]["vocab"][9][0]]}


CASES: dict[str, tuple[str, Edit, type[InputError], str]] = {
    # the whole file
    "unknown field": ("gpt-2", put("extra", 1), U, "tokenizer.json.extra is unknown"),
    "no model": ("gpt-2", put("model", None), F, "tokenizer.json.model is missing"),
    "model is text": ("gpt-2", put("model", "BPE"), F, "tokenizer.json.model is not an object"),
    "added tokens are text": ("gpt-2", put("added_tokens", "x"), F, "added_tokens is not an array"),
    # models
    "another model": ("gpt-2", put("model.type", "WordLevel"), U, "the model 'WordLevel'"),
    "field of the model": ("gpt-2", put("model.extra", 0), U, "json.model.extra is unknown"),
    "dropout": ("gpt-2", put("model.dropout", 0.1), U, "json.model: dropout is not supported"),
    "suffix": ("gpt-2", put("model.end_of_word_suffix", "</w>"), U, "a end_of_word_suffix"),
    "prefix": ("gpt-2", put("model.continuing_subword_prefix", "x"), U, "continuing_subword"),
    "vocab is a list": ("gpt-2", put("model.vocab", []), F, "model.vocab is not an object"),
    "negative id": ("gpt-2", put("model.vocab.!", -1), F, "model.vocab: the id of '!' is none"),
    "id is true": ("gpt-2", put("model.vocab.!", True), F, "the id of '!' is none"),
    "id is a float": ("gpt-2", put("model.vocab.!", 1.0), F, "the id of '!' is none"),
    "huge id": ("gpt-2", put("model.vocab.!", 2**40), F, "the id of '!' is none"),
    "one id twice": ("gpt-2", put("model.vocab.!", 2), F, "two tokens with one id"),
    "unknown is no token": ("gpt-2", put("model.unk_token", "<u>"), F, "unk_token '<u>' is no token"),
    "merge of three": ("gpt-2", put("model.merges.0", "a b c"), F, "model.merges[0] is not a pair"),
    "merge of numbers": ("gpt-2", put("model.merges.0", [1, 2]), F, "model.merges[0] is not a pair"),
    "merge of strangers": ("gpt-2", put("model.merges.0", ["a", "☃"]), F, "merges[0] names a token"),
    "merge to nothing": ("gpt-2", put("model.merges.0", ["z", "z"]), F, "merges[0] names a token"),
    "ignore_merges": ("gpt-2", put("model.ignore_merges", "yes"), F, "ignore_merges is not true"),
    "scores": ("t5", put("model.vocab.5.1", "x"), F, "vocab[5]: the score is no finite number"),
    "infinite score": ("t5", put("model.vocab.5.1", 1e999), F, "vocab[5]: the score is no finite"),
    "score is true": ("t5", put("model.vocab.5.1", True), F, "vocab[5]: the score is no finite"),
    "three of a token": ("t5", put("model.vocab.5", ["a", 0.0, 1]), F, "vocab[5] is not a token"),
    "twice": ("t5", put("model.vocab.5", ["<pad>", 0.0]), F, "vocab[5]: the token '<pad>' occurs"),
    "unk_id outside": ("t5", put("model.unk_id", 9999), F, "model.unk_id is 9999, not within 0 to"),
    "no unk_id": ("t5", put("model.unk_id", None), F, "model.unk_id is missing"),
    "fallback": ("unigram with bytes", put("model.byte_fallback", False), U, BYTE_FALLBACK),
    "a word's prefix": ("bert", put("model.continuing_subword_prefix", "@@"), U, "another conti"),
    "long words": ("bert", put("model.max_input_chars_per_word", 10**9), F, "max_input_chars_per"),
    "no unknown word": ("bert", put("model.unk_token", None), F, "without an unknown token"),
    # added tokens
    "another id": ("gpt-2", put("added_tokens.1", ADDED), F, "'<x>' has the id 999, but would be"),
    "its own id": ("gpt-2", put("added_tokens.0.id", 1), F, "added_tokens[0]: '<|endoftext|>' has"),
    "added twice": ("gpt-2", lambda t: t["added_tokens"].append(t["added_tokens"][0]), F, "before"),
    "empty": ("gpt-2", put("added_tokens.0.content", ""), F, "added_tokens[0]"),
    "field": ("gpt-2", put("added_tokens.0.x", 1), U, "added_tokens[0].x is unknown"),
    "special is 1": ("gpt-2", put("added_tokens.0.special", 1), F, "[0].special is not true or"),
    # normalisers
    "unknown normaliser": ("gpt-2", normalizer("Nmt"), U, "normalizer: the normalizer 'Nmt'"),
    "no type": ("gpt-2", put("normalizer", {}), F, "tokenizer.json.normalizer.type is missing"),
    "in a sequence": (
        "gpt-2",
        normalizer("Sequence", normalizers=[{"type": "NFC"}, {"type": "Z"}]),
        U,
        "tokenizer.json.normalizer.normalizers[1]: the normalizer 'Z'",
    ),
    "argument": ("gpt-2", normalizer("NFC", x=1), U, "json.normalizer.x is unknown"),
    "expression": (
        "gpt-2",
        normalizer("Replace", pattern={"Regex": EVIL}, content=""),
        U,
        f"normalizer: the regular expression {EVIL!r}",
    ),
    "two patterns": (
        "gpt-2",
        normalizer("Replace", pattern={"Regex": EVIL, "String": "a"}, content=""),
        U,
        "normalizer.pattern.Regex is unknown",
    ),
    "no pattern": ("gpt-2", normalizer("Replace", content=""), F, "normalizer.pattern is missing"),
    "replaces nothing": (
        "gpt-2",
        normalizer("Replace", pattern={"String": ""}, content="x"),
        F,
        "argument of the normaliser replace is empty",
    ),
    "bomb": (
        "gpt-2",
        normalizer(
            "Sequence",
            normalizers=[{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"}] * 9,
        ),
        L,
        "may grow more than 16 times",
    ),
    "many": ("gpt-2", normalizer("Sequence", normalizers=[{"type": "NFC"}] * 70), U, "64 parts"),
    "no base64": ("t5", put("normalizer.precompiled_charsmap", "@@"), F, "is not base64"),
    "no map": ("t5", put("normalizer.precompiled_charsmap", "AAAA"), F, "a map of characters of 3"),
    "huge map": ("t5", put("normalizer.precompiled_charsmap", "A" * (3 << 20)), U, "letters"),
    # splitters
    "unknown splitter": ("gpt-2", splitter("UnicodeScripts"), U, "the pre_tokenizer 'Unic"),
    "an expression of nobody": (
        "gpt-2",
        splitter("Split", pattern={"Regex": EVIL}, behavior="Isolated", invert=False),
        U,
        "tokenizer.json.pre_tokenizer: the regular expression '(a+)+$'",
    ),
    "behavior": (
        "gpt-2",
        splitter("Split", pattern={"String": " "}, behavior="Kept", invert=False),
        U,
        "the behavior 'Kept'",
    ),
    "replacement": ("t5", splitter("Metaspace", replacement="_"), U, "another letter than U"),
    "scheme": ("t5", splitter("Metaspace", replacement=SPACE, prepend_scheme="x"), U, "'x'"),
    "contradiction": (
        "t5",
        splitter("Metaspace", replacement=SPACE, prepend_scheme="first", add_prefix_space=False),
        F,
        "add_prefix_space contradicts",
    ),
    "bytes first": (
        "gpt-2",
        splitter("Sequence", pretokenizers=[{"type": "ByteLevel", "add_prefix_space": False}] * 2),
        F,
        "behind the alphabet of bytes",
    ),
    # decoders
    "no decoder": ("gpt-2", put("decoder", None), F, "tokenizer.json.decoder is missing"),
    "another decoder": ("gpt-2", put("decoder", METASPACE), U, "written as"),
    "unknown decoder": ("gpt-2", put("decoder", {"type": "CTC"}), U, "decoder: the decoder 'C"),
    "strips more": ("llama 2", put("decoder.decoders.3.start", 2), U, "decoders[3]: to strip"),
    "strips first": ("llama 2", lambda t: t["decoder"]["decoders"].reverse(), U, "to strip any"),
    "replaces more": ("llama 2", put("decoder.decoders.0.content", "x"), U, "anything but U"),
    "twice decoded": ("llama 2", put("decoder.decoders.4", {"type": "Fuse"}), U, "a second dec"),
    "no fallback": ("llama 2", put("decoder.decoders.1", ...), U, BYTE_FALLBACK),
    "no fallback there": ("llama 2", put("model.byte_fallback", False), U, BYTE_FALLBACK),
    # post-processors
    "post-processor": ("gpt-2", put("post_processor", {"type": "X"}), U, "post_processor 'X'"),
    "another name": ("t5", put("post_processor.special_tokens.</s>.tokens", ["<s>"]), F, "token 1 is"),
    "another token": ("t5", put("post_processor.special_tokens.</s>.ids", [999]), F, "token 999 is"),
    "text around": ("t5", text_around, F, "behind a text is a token of type control"),
    "no special token": ("t5", put("post_processor.special_tokens", {}), F, "is not among special"),
    "more ids": ("t5", put("post_processor.special_tokens.</s>.ids", [1, 1]), F, "not a name for"),
    "two texts": ("t5", put("post_processor.single.2", {"Sequence": {"id": "A"}}), U, "2 texts"),
    "second text": ("t5", put("post_processor.single.0.Sequence.id", "B"), U, "another text"),
    "neither": ("t5", put("post_processor.single.0", {}), F, "single[0] is neither"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_refused_by_field(name: str) -> None:
    family, edit, error, words = CASES[name]
    tokenizer = json.loads(file(family))
    read_vocabulary(tokenizer)
    edit(tokenizer)
    with pytest.raises(error) as caught:
        read_vocabulary(tokenizer)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert len(str(caught.value)) < 2000


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values but those of the vocabulary and the merges, of which some are enough."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for n, (key, value) in enumerate(items):
        if n < 12:
            yield (*path, key)
            yield from leaves(value, (*path, key))


VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    1e400,
    "",
    "x" * 3000,
    [],
    {},
    [[]],
    {"type": "Sequence"},
    "\ud800",
)


@pytest.mark.parametrize("family", ["deepseek 3", "llama 2", "t5", "bert"])
def test_any_change_of_a_value_is_taken_or_refused(family: str) -> None:
    """What is taken has a canonical encoding and encodes texts."""
    plain, rng = json.loads(file(family)), random.Random(5)
    for path in leaves(plain):
        for value in rng.sample(VALUES, 4):
            tokenizer = copy.deepcopy(plain)
            at = tokenizer
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            try:
                vocabulary = read_vocabulary(tokenizer)
                vocabulary.encode()
                Tokenizer(vocabulary).encode("<s>the fox 12\n", special=True)
            except InputError:
                continue


# -- maps of characters ------------------------------------------------------------------------------------
def test_honest_maps_are_taken() -> None:
    for replacements in (
        MAP,
        {},
        {"a": ""},
        {"abc": "x", "ab": "y", "a": "z"},
        {chr(i): "e" for i in range(200, 900)},
    ):
        check_charsmap(charsmap(replacements))
    assert normalizers.Precompiled(charsmap(MAP)).normalize_str("ﬁx ½") == "fix 1/2"


def units(data: bytes) -> tuple[list[int], bytes]:
    (size,) = struct.unpack_from("<I", data)
    return list(struct.unpack_from(f"<{size // 4}I", data, 4)), data[4 + size :]


def packed(found: list[int], texts: bytes) -> bytes:
    return struct.pack(f"<I{len(found)}I", 4 * len(found), *found) + texts


HONEST = charsmap({"a": "b", "é": "ef"})
WRONG_MAPS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "a map of characters of 0 bytes"),
    "no trie": (struct.pack("<I", 0) + b"a\0", "has a trie of 0"),
    "a trie of 5": (struct.pack("<I", 5) + bytes(9), "has a trie of 5"),
    "a trie of more": (struct.pack("<I", 1 << 20) + bytes(64), "has a trie of 1048576"),
    "a trie out of it": (packed([1 << 30], b"\0"), "leads out of it"),
    "cut": (packed(units(HONEST)[0][:-256], units(HONEST)[1]), "leads out of it"),
    "no replacement": (packed(units(HONEST)[0], b""), "names a replacement that is not there"),
    "not text": (packed(units(HONEST)[0], b"\xff\0ef\0"), "are not UTF-8"),
    "inside a letter": (packed(units(HONEST)[0], "xé\0".encode()), "begins inside a character"),
    "bomb": (charsmap({"a": "x" * 17}), "grows more than 16 times"),
    "bomb without an end": (packed(units(HONEST)[0], b"y" * 100), "grows more than 16 times"),
}


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_wrong_maps_are_refused(name: str) -> None:
    data, words = WRONG_MAPS[name]
    with pytest.raises(FormatError, match=words):
        check_charsmap(data)


def test_what_is_taken_cannot_end_the_process() -> None:
    """The library panics, which no handler of exceptions catches, where a map leads out of itself."""
    rng = np.random.default_rng(3)
    texts = [*map(chr, range(1, 400)), "é" * 3, "ab", "日本"]
    plain, words = units(charsmap(MAP))
    taken = 0
    for _ in range(300):
        mutant = list(plain)
        for at in rng.choice(np.flatnonzero(plain), 2):
            mutant[at] = int(mutant[at]) ^ 1 << int(rng.integers(32))
        try:
            check_charsmap(data := packed(mutant, words))
        except FormatError:
            continue
        taken += 1
        normaliser = normalizers.Precompiled(data)
        for text in texts:
            normaliser.normalize_str(text)
    assert taken > 20


# -- folders -----------------------------------------------------------------------------------------------
def folder(path: Path, family: str = "qwen 2", **files: Any) -> Path:
    """A folder with the family's tokenizer and other files (``__`` stands for a dot)."""
    (path / "tokenizer.json").write_text(file(family), "utf-8")
    for name, value in files.items():
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        (path / name.replace("__", ".")).write_bytes(text.encode() if isinstance(text, str) else text)
    return path


CONFIG: dict[str, Any] = {"bos_token": None, "eos_token": "<|im_end|>", "chat_template": "from the config"}


def test_a_folder(tmp_path: Path) -> None:
    found = read_tokenizer(
        folder(tmp_path, tokenizer_config__json=CONFIG, generation_config__json={"eos_token_id": [560]})
    )
    v = found.vocabulary
    named = {v.tokens[i] for i in v.end_ids}
    assert named == {b"<|im_end|>", b"<|endoftext|>"}
    assert (v.bos, v.eos, v.before) == (None, v.tokens.index(b"<|im_end|>"), ())
    assert (found.chat_template, found.notes) == ("from the config", ())


def test_special_tokens_map_counts_where_the_config_is_silent(tmp_path: Path) -> None:
    special = {"bos_token": {"content": "<|im_start|>", "lstrip": False}, "eos_token": "<|endoftext|>"}
    v = read_tokenizer(
        folder(tmp_path, special_tokens_map__json=special, tokenizer_config__json={"eos_token": "<|im_end|>"})
    ).vocabulary
    assert v.bos is not None
    assert v.eos is not None
    assert (v.tokens[v.bos], v.tokens[v.eos]) == (b"<|im_start|>", b"<|im_end|>")


def test_the_post_processor_counts_and_not_the_flags_of_the_config(tmp_path: Path) -> None:
    """As in transformers 5; a contradiction is noted."""
    config = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    for family, flags, before, noted in (
        ("qwen 2", {}, (), 0),
        ("qwen 2", {"add_bos_token": False, "add_eos_token": False}, (), 0),
        ("qwen 2", {"add_bos_token": True, "add_eos_token": True}, (), 2),
        ("llama 3", {"add_bos_token": True}, (b"<|endoftext|>",), 0),
        ("llama 3", {"add_bos_token": False}, (b"<|endoftext|>",), 1),
    ):
        found = read_tokenizer(folder(tmp_path, family, tokenizer_config__json={**config, **flags}))
        v = found.vocabulary
        assert (tuple(v.tokens[i] for i in v.before), v.after) == (before, ())
        assert len([note for note in found.notes if "what counts is the post_processor" in note]) == noted


def decoder_of(family: str, **changes: Any) -> dict[str, Any]:
    """The list of added tokens that a tokenizer_config.json has; ``changes`` are made to the last."""
    tokens = json.loads(file(family))["added_tokens"]
    tokens[-1] |= changes
    return {str(t.pop("id")): t for t in tokens}


def test_added_tokens_of_the_config_are_those_of_the_file(tmp_path: Path) -> None:
    for changes, error, words in (
        ({"content": "<x>"}, FormatError, "'<x>' has another name in tokenizer.json"),
        ({"id": 9999}, UnsupportedError, "added_tokens_decoder.9999: '</tool_call>' is no added token"),
        ({"id": "x"}, UnsupportedError, "is no added token"),
        ({"content": 1}, FormatError, "content is not text"),
    ):
        config = {"added_tokens_decoder": decoder_of("qwen 2", **changes)}
        with pytest.raises(error) as caught:
            read_tokenizer(folder(tmp_path, tokenizer_config__json=config))
        assert words in str(caught.value)
    plain = read_tokenizer(folder(tmp_path, tokenizer_config__json={})).vocabulary
    config = {"added_tokens_decoder": decoder_of("qwen 2")}
    assert read_tokenizer(folder(tmp_path, tokenizer_config__json=config)).vocabulary == plain
    config = {"added_tokens_decoder": decoder_of("qwen 2", special=True, rstrip=True)}
    found = read_tokenizer(folder(tmp_path, tokenizer_config__json=config))
    last = plain.tokens.index(b"</tool_call>")
    assert (plain.types[last], found.vocabulary.types[last]) == (USER_DEFINED, CONTROL)
    assert found.vocabulary.finding == plain.finding
    assert "finds tokens otherwise than tokenizer.json, which counts: </tool_call>" in found.notes[0]


def test_bos_that_is_no_added_token_is_a_control_token(tmp_path: Path) -> None:
    """As transformers adds it; otherwise a template could not write it."""
    found = read_tokenizer(
        folder(tmp_path, "gpt-2", tokenizer_config__json={"bos_token": "!", "eos_token": '"'})
    )
    v = found.vocabulary
    assert v.bos is not None
    assert v.eos is not None
    for token in (v.bos, v.eos):
        assert v.types[token] == CONTROL
        name = v.tokens[token].decode()
        assert Tokenizer(v).encode(f"a{name}", special=True)[1:] == [token]
    with pytest.raises(UnsupportedError, match="no token for the byte 0x21"):
        Tokenizer(v).encode("a!", special=False)


NAMED = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
TEMPLATES: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "none": ({}, None, ""),
    "config": ({"tokenizer_config__json": {"chat_template": "a"}}, "a", ""),
    "empty": ({"tokenizer_config__json": {"chat_template": ""}}, None, ""),
    "list": ({"tokenizer_config__json": {"chat_template": NAMED}}, "d", "the default is used, not rag"),
    "list without default": (
        {"tokenizer_config__json": {"chat_template": NAMED[:1]}},
        None,
        "no chat template is named default",
    ),
    "file": ({"tokenizer_config__json": CONFIG, "chat_template__jinja": "from é"}, "from é", "not that of"),
    "json": ({"chat_template__json": {"chat_template": "j"}}, "j", ""),
    "the same twice": ({"chat_template__json": {"chat_template": "a"}, "chat_template__jinja": "a"}, "a", ""),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_where_chat_templates_are(tmp_path: Path, name: str) -> None:
    files, expected, note = TEMPLATES[name]
    found = read_tokenizer(folder(tmp_path, **files))
    assert found.chat_template == expected
    assert [note in n for n in found.notes] == ([True] if note else [])


WRONG_FOLDERS: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "not JSON": ({"tokenizer__json": "{"}, F, "tokenizer.json is not JSON"),
    "a key twice": ({"tokenizer__json": '{"model": 1, "model": 2}'}, F, "'model' occurs twice"),
    "deep": ({"tokenizer__json": '{"model":' + "[" * 99 + "]" * 99 + "}"}, L, "nested 100 deep"),
    "NaN": ({"tokenizer__json": '{"model": NaN}'}, F, "NaN is not JSON"),
    "no UTF-8": ({"tokenizer__json": b'{"\xff": 1}'}, F, "tokenizer.json is not UTF-8"),
    "long number": ({"tokenizer__json": '{"model": 1' + "0" * 5000 + "}"}, F, "number is too long"),
    "bos": (
        {"tokenizer_config__json": {"bos_token": "<b>"}},
        F,
        "tokenizer_config.json: bos_token",
    ),
    "eos": (
        {"special_tokens_map__json": {"eos_token": 3}},
        F,
        "special_tokens_map.json: eos_token",
    ),
    "end": ({"generation_config__json": {"eos_token_id": 10**5}}, F, "eos_token_id of the config"),
    "ends": (
        {"generation_config__json": {"eos_token_id": "2"}},
        F,
        "generation_config.json: eos_to",
    ),
    "flag": (
        {"tokenizer_config__json": {"bos_token": "<|im_start|>", "add_bos_token": "yes"}},
        F,
        "add_bos_token is not true or false",
    ),
    "split": (
        {"tokenizer_config__json": {"split_special_tokens": True}},
        U,
        "split_special_t",
    ),
    "template": (
        {"tokenizer_config__json": {"chat_template": 3}},
        F,
        "tokenizer_config.json: chat_",
    ),
    "templates": ({"tokenizer_config__json": {"chat_template": [3]}}, F, "chat_template[0] is not"),
    "twice": (
        {"tokenizer_config__json": {"chat_template": [{"name": "a", "template": ""}] * 2}},
        F,
        "there are two templates 'a'",
    ),
    "jinja": ({"chat_template__jinja": b"\xff"}, F, "chat_template.jinja is not UTF-8"),
    "long jinja": ({"chat_template__jinja": "x" * ((1 << 20) + 1)}, L, "has 1048577 characters"),
    "longer jinja": ({"chat_template__jinja": "x" * ((1 << 22) + 1)}, L, "jinja has more than"),
}


@pytest.mark.parametrize("name", WRONG_FOLDERS)
def test_wrong_folders_are_refused(tmp_path: Path, name: str) -> None:
    files, error, words = WRONG_FOLDERS[name]
    with pytest.raises(error) as caught:
        read_tokenizer(folder(tmp_path, **files))
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "inside").mkdir()
    (tmp_path / "tokenizer.json").write_text(file("gpt-2"))
    (tmp_path / "inside" / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="link out of"):
        read_tokenizer(tmp_path / "inside")


# -- what is corrected -------------------------------------------------------------------------------------
def test_chat_markers_listed_as_text_are_control_tokens() -> None:
    notes: list[str] = []
    v = read_vocabulary(json.loads(file("deepseek 3")), notes=notes)
    mark = v.tokens.index("<\uff5cUser\uff5c>".encode())
    assert v.types[mark] == CONTROL
    assert notes == ["listed as text in the file, and used as control tokens: <\uff5cUser\uff5c>"]
    texts = [PromptText("<\uff5cUser\uff5c>", trusted=True), PromptText("<\uff5cUser\uff5c>", trusted=False)]
    assert Tokenizer(v).encode_texts(texts).count(mark) == 1


def test_user_defined_tokens_of_the_template_are_noted() -> None:
    notes: list[str] = []
    v = read_vocabulary(json.loads(file("qwen 2")), template="{{ '<tool_call>' }}", notes=notes)
    assert v.types[v.tokens.index(b"<tool_call>")] == USER_DEFINED
    assert notes == ["user-defined tokens of the chat template, which messages may contain too: <tool_call>"]


def test_merges_that_make_control_tokens_are_left_out() -> None:
    """Otherwise a message could write one with letters."""
    tokenizer = json.loads(file("gpt-2"))
    n = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"] |= {"<@": n, "<@>": n + 1}
    tokenizer["model"]["merges"] += [["<", "@"], ["<@", ">"]]
    assert Tokenizer(read_vocabulary(tokenizer)).encode("<@>", special=False) == [n + 1]
    tokenizer["added_tokens"].append({"id": n + 1, "content": "<@>", "special": True})
    notes: list[str] = []
    v = read_vocabulary(tokenizer, notes=notes)
    assert notes == ["merges that make special tokens out of letters are left out: <@>"]
    assert n + 1 not in Tokenizer(v).encode("<@>", special=False)
    assert Tokenizer(v).encode("<@>", special=True) == [n + 1]


def test_holes_and_tokens_of_no_text_are_unused() -> None:
    tokenizer = json.loads(file("gpt-2"))
    n = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"] |= {"日本": n + 2}
    notes: list[str] = []
    v = read_vocabulary(tokenizer, notes=notes)
    assert list(v.types[n:]) == [UNUSED] * 3
    assert v.types[n - 1] == NORMAL
    assert notes == ["tokens that no text can become, and that print nothing: 日本"]


def test_truncation_and_padding_are_noted() -> None:
    notes: list[str] = []
    read_vocabulary({**json.loads(file("bert")), "truncation": {"max_length": 8}}, notes=notes)
    assert "truncation and padding are not applied" in notes[0]
