"""What is shown of an answer: never half a character, never a stop string or what may become one."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proofcompute
import synthetic
from proofcompute.errors import InputError
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.vocabulary import CONTROL, NORMAL, Vocabulary
from proofcompute.protocol.answer import AnswerText, answer_text
from proofcompute.protocol.messages import Generation
from proofcompute.protocol.stop import stop_reason

BYTES = Vocabulary(
    kind="bpe",
    tokens=(*(bytes([b]) for b in range(256)), b"<|end|>", b"xyz", b"ab", "é".encode()[:1] + b"a"),
    types=bytes([NORMAL] * 256 + [CONTROL] + [NORMAL] * 3),
    splitters=NAMED_RULES["smollm"].splitters,
    eos=256,
    end_ids=(256,),
)
TOKENS = st.lists(st.sampled_from([*b"abxyz\xc3\xa9", 257, 258, 259]), max_size=12)
STOPS = st.lists(st.text("abxyzé", min_size=1, max_size=4), max_size=3, unique=True)


def until_stop(tokens: list[int], stops: list[str]) -> tuple[list[int], str | None]:
    """The tokens of an answer: up to the one after which the stop rule says stop."""
    rule = Generation(100, stops=tuple(stops))
    for n in range(1, len(tokens) + 1):
        if (reason := stop_reason(rule, tokens[:n], BYTES)) is not None:
            return tokens[:n], reason
    return tokens, None


def letter_by_letter(data: bytes, stops: list[str]) -> str:
    """The definition: read a byte at a time; show what is before the longest complete stop."""
    for n in range(len(data) + 1):
        complete = [s for s in stops if data[:n].endswith(s.encode())]
        if complete:
            return data[: n - max(len(s.encode()) for s in complete)].decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


@given(TOKENS, STOPS)
def test_equals_its_definition_in_any_pieces(tokens: list[int], stops: list[str]) -> None:
    answer, reason = until_stop(tokens, stops)
    expected = letter_by_letter(BYTES.text_bytes(answer), stops)
    assert answer_text(BYTES, Generation(99, stops=tuple(stops)), answer, reason) == expected
    shown = AnswerText(BYTES, stops)
    pieces = []
    for token in answer:
        pieces.append(shown.push(token))
        assert expected.startswith("".join(pieces))
    assert "".join([*pieces, shown.finish(reason)]) == expected
    assert not any(stop in expected for stop in stops)


@given(TOKENS, STOPS)
def test_the_text_stops_exactly_where_the_rule_does(tokens: list[int], stops: list[str]) -> None:
    answer, reason = until_stop(tokens, stops)
    shown = AnswerText(BYTES, stops)
    shown.push(*answer)
    if reason == "stop":
        assert shown.finish("stop") == ""
        assert shown.push(*b"more") == ""
    else:
        with pytest.raises(InputError, match="its text has none"):
            shown.finish("stop")


def test_a_stop_string_that_spans_tokens_is_not_shown() -> None:
    shown = AnswerText(BYTES, ["xhe", "no"])
    assert [shown.push(b) for b in b"ax"] == ["a", ""]
    assert shown.push(*b"hello") == ""
    assert shown.finish("stop") == ""


def test_what_might_have_become_one_is_shown_in_the_end() -> None:
    shown = AnswerText(BYTES, ["xhe"])
    assert shown.push(*b"axh") == "a"
    assert shown.push(*b"i") == "xhi"
    assert shown.push(*b"x") == ""
    assert shown.finish("length") == "x"


def test_end_tokens_print_nothing() -> None:
    shown = AnswerText(BYTES)
    assert shown.push(*b"hi", 256) + shown.finish("end") == "hi"
    with pytest.raises(InputError):
        AnswerText(BYTES).push(999)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_never_gives_half_a_character(text: str) -> None:
    shown, seen = AnswerText(BYTES), ""
    for byte in text.encode():
        seen += shown.push(byte)
        assert text.startswith(seen)
    assert seen == text
    assert shown.finish() == ""


def test_an_unfinished_character() -> None:
    shown = AnswerText(BYTES)
    assert shown.push(0xF0, 0x9F) == ""
    assert shown.finish("length") == codecs.decode(b"\xf0\x9f", errors="replace")


def test_a_nodes_answer_is_shown_up_to_its_stop_string() -> None:
    """The tokens, which are proved, go on to the end of the stop string; the text does not."""
    model = synthetic.model()
    node = proofcompute.Node(model, device=synthetic.KERNELS)
    plain = node.answer(synthetic.request(model, max_tokens=8))
    printed = [t for t in plain.tokens if t < 128]
    assert printed, "the model's answer has a letter of one byte"
    stop = chr(printed[-1])
    stopped = node.answer(synthetic.request(model, max_tokens=8, stops=(stop,)))
    assert stopped.stop_reason == "stop"
    assert stopped.tokens == plain.tokens[: plain.tokens.index(printed[-1]) + 1]
    assert plain.text.startswith(stopped.text)
    assert stop not in stopped.text
