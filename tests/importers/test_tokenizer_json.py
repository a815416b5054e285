"""A text becomes the tokens that the ``tokenizers`` library gives, for tokenizers of every family."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from importers.tokenizer_files import FAMILIES, TEXTS, family, file
from proofcompute.errors import InputError
from proofcompute.importers.huggingface.json_file import parse_object
from proofcompute.importers.huggingface.tokenizer import read_vocabulary
from proofcompute.limits import MAX_TOKENIZER
from proofcompute.models.vocabulary import FOUND, Vocabulary
from proofcompute.protocol.answer import AnswerText
from proofcompute.tokens import PromptText, Tokenizer

NAMES = "<s> </s> <unk> <|endoftext|> <|im_start|> <|end|> [CLS] <mask> <one> fox and two \u2581 \n\n".split(
    " "
)
PIECES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from([*NAMES, " ", "  ", "\n", "the", "é", "日本", "12", "x"]),
)
ANY = st.lists(PIECES, max_size=8).map("".join)


@cache
def ours(name: str) -> Tokenizer:
    """Read from the file, and through the canonical encoding."""
    vocabulary = read_vocabulary(json.loads(file(name)))
    again = Vocabulary.decode(vocabulary.encode())
    assert again == vocabulary
    return Tokenizer(again)


def library(name: str, text: str, *, around: bool = False) -> list[int]:
    ids: list[int] = family(name).encode(text, add_special_tokens=around).ids
    return ids


def check(name: str, text: str) -> None:
    tokenizer, expected = ours(name), library(name, text)
    assert tokenizer.encode(text, special=True) == expected
    assert Tokenizer(tokenizer.vocabulary, only=text).encode(text, special=True) == expected
    if name != "llama 2, normalised names":  # the library prints control tokens with such names
        assert tokenizer.decode(expected) == family(name).decode(expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_texts_in_many_scripts(name: str) -> None:
    for text in TEXTS:
        check(name, text)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40)
@given(text=ANY)
def test_any_text(name: str, text: str) -> None:
    expected = library(name, text)
    tokenizer = ours(name)
    assert tokenizer.encode(text, special=True) == expected
    before, after = (list(ids) for ids in (tokenizer.vocabulary.before, tokenizer.vocabulary.after))
    if expected[: len(before)] != before:
        assert tokenizer.encode_prompt([PromptText(text, trusted=True)]) == library(name, text, around=True)
    else:
        assert tokenizer.encode_prompt([PromptText(text, trusted=True)]) == [*expected, *after]


# -- control tokens ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=20)
@given(text=ANY)
def test_text_from_outside_never_becomes_a_control_token(name: str, text: str) -> None:
    tokenizer = ours(name)
    v = tokenizer.vocabulary
    ids = tokenizer.encode(text, special=False)
    assert not (set(ids) & v.special_ids) - {v.unknown}
    spoken = "".join(text.split()) in tokenizer.decode(ids).replace(" ", "").replace("\ufffd", "")
    assert spoken or v.normalisers or v.splitters[0].name == "bert" or not text.isprintable()


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=20)
@given(texts=st.lists(st.tuples(ANY, st.booleans()), max_size=4))
def test_texts_of_several_authors_encode_as_one(name: str, texts: list[tuple[str, bool]]) -> None:
    """Without names of control tokens in or across them, who wrote which part changes nothing."""
    tokenizer = ours(name)
    whole = "".join(text for text, _ in texts)
    if tokenizer.control_names(whole) or tokenizer.control_names(whole.replace(" ", "")):
        return
    assert tokenizer.encode_texts([PromptText(*text) for text in texts]) == library(name, whole)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "llama 2, normalised names"])
@settings(max_examples=20)
@given(content=ANY, more=ANY)
def test_marks_of_a_template_count_and_those_of_a_content_do_not(name: str, content: str, more: str) -> None:
    tokenizer = ours(name)
    v = tokenizer.vocabulary
    marks = [i for i in sorted(v.special_ids) if v.finding[i] == FOUND]
    if not marks:
        return
    mark = v.tokens[marks[0]].decode()
    texts = [PromptText(mark, trusted=True), PromptText(content, trusted=False)]
    ids = tokenizer.encode_texts([*texts, PromptText(mark, trusted=True), PromptText(more, trusted=False)])
    found = [i for i in ids if i in v.special_ids and i != v.unknown]
    assert found == ([marks[0]] * 2 if marks[0] != v.unknown else [])
    if not tokenizer.control_names(content + mark + more):
        assert ids == library(name, mark + content + mark + more)


def test_names_in_the_normalised_text() -> None:
    """Where the library alone can find them, all are the template's, or none is, or the prompt is refused."""
    tokenizer = ours("llama 2, normalised names")
    both = [PromptText("<s>", trusted=True), PromptText(" </s>", trusted=False)]
    assert tokenizer.encode_texts(both[:1]) == library("llama 2, normalised names", "<s>") == [1]
    assert 2 not in tokenizer.encode_texts([PromptText("a", trusted=True), both[1]])
    assert 2 in tokenizer.encode_texts([PromptText("a", trusted=True), both[1]._replace(trusted=True)])
    with pytest.raises(InputError, match="cannot be told apart"):
        tokenizer.encode_texts(both)


def test_white_space_beside_a_mark_belongs_to_it_whoever_wrote_it() -> None:
    """As in the library: the tokens of a text do not depend on where its parts begin."""
    tokenizer = ours("phi 3")
    texts = [PromptText("<|end|>\n", trusted=True), PromptText("  hi", trusted=False)]
    assert tokenizer.encode_texts(texts) == library("phi 3", "<|end|>\n  hi")
    assert tokenizer.decode(tokenizer.encode_texts(texts)) == "hi"


# -- what answers print ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=20)
@given(data=st.data())
def test_an_answer_is_shown_as_it_comes(name: str, data: st.DataObject) -> None:
    tokenizer = ours(name)
    v = tokenizer.vocabulary
    ids = data.draw(st.lists(st.integers(0, len(v.tokens) - 1), max_size=30))
    shown = AnswerText(v)
    text = "".join([shown.push(i) for i in ids]) + shown.finish()
    assert text == v.text_bytes(ids).decode("utf-8", "replace")
    assert tokenizer.decode(ids) == (text.removeprefix(" ") if v.strip_space else text)
    try:
        # the library shows ## in front of a text that begins inside a word
        bytes_are_text = v.text_bytes(ids).decode().startswith(" ") or v.kind != "wordpiece"
    except UnicodeDecodeError:
        bytes_are_text = False
    if bytes_are_text and name != "llama 2, normalised names" and b"\xe2\x96\x81" not in v.text_bytes(ids):
        assert tokenizer.decode(ids) == family(name).decode(ids)


# -- published files ---------------------------------------------------------------------------------------
def published(name: str) -> Path:
    """A tokenizer that a package of the tests' requirements comes with."""
    for found in distribution("litellm").files or ():
        if found.name == name:
            return Path(str(found.locate()))
    raise AssertionError(f"litellm has no {name}")


@pytest.mark.parametrize("name", ["deepseek_tokenizer.json", "anthropic_tokenizer.json"])
def test_published_tokenizers(name: str) -> None:
    data = published(name).read_bytes()
    vocabulary = read_vocabulary(parse_object(data, name, MAX_TOKENIZER, 1 << 22))
    assert Vocabulary.decode(vocabulary.encode()) == vocabulary
    whole, oracle = Tokenizer(vocabulary), tokenizers.Tokenizer.from_buffer(data)
    for text in TEXTS:
        ids = oracle.encode(text, add_special_tokens=False).ids
        assert whole.encode(text, special=True) == ids
        assert whole.decode(ids) == oracle.decode(ids)
