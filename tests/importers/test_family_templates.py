"""Templates with the features of every family give what transformers gives, and no content is a mark."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import pytest
from jinja2 import TemplateError

from importers.family_templates import FAMILY_TEMPLATES, MARKS
from oracle.transformers_templates import apply_chat_template
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.vocabulary import CONTROL, NORMAL, Vocabulary
from proofcompute.templates.process import TemplateRefusalError
from proofcompute.tokens import ChatTemplate, Message, PromptText, Tokenizer

NOW = datetime(2025, 3, 9, 8, 5)  # templates know no zones
USER = Message("user", "  What is 2 + 2?\n")
TALKS: dict[str, list[Message]] = {
    "a question": [USER],
    "a rule": [Message("system", "Be brief. /no_think"), USER],
    "an answer": [USER, Message("assistant", "4"), Message("user", "日本 🎉 e\u0301")],
    "a rule and answers": [
        Message("system", "Be brief."),
        USER,
        Message("assistant", "Four."),
        Message("user", "3 + 3?"),
        Message("assistant", "Six."),
        Message("user", "Thanks"),
    ],
    "thoughts": [USER, Message("assistant", "<think>\nhm\n</think>\n\n4"), Message("user", "and 3?")],
    "a tool": [USER, Message("assistant", "I look."), Message("tool", '{"a": 1}'), Message("user", "so?")],
    "two of one role": [USER, Message("user", "Please.")],
    "an answer at the end": [USER, Message("assistant", "4")],
}


@cache
def template(name: str) -> ChatTemplate:
    return ChatTemplate(FAMILY_TEMPLATES[name], bos="<s>", eos="</s>")


@pytest.fixture(scope="module", autouse=True)
def _closed() -> object:
    yield
    for name in FAMILY_TEMPLATES:
        template(name).close()


def expected(name: str, talk: list[Message], ask: bool) -> str | None:
    """What transformers gives; None if the template refuses."""
    variables = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": ask}
    try:
        return apply_chat_template(FAMILY_TEMPLATES[name], talk, now=NOW, **variables)
    except TemplateError:
        return None


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", FAMILY_TEMPLATES)
def test_gives_what_transformers_gives(name: str, talk: str, ask: bool) -> None:
    whole = expected(name, TALKS[talk], ask)
    if whole is None:
        with pytest.raises(TemplateRefusalError):
            template(name).render(TALKS[talk], date=NOW, add_generation_prompt=ask)
        return
    texts = template(name).render(TALKS[talk], date=NOW, add_generation_prompt=ask, may_omit=True)
    assert "".join(text.text for text in texts) == whole


@cache
def tokenizer() -> Tokenizer:
    """Single bytes and the marks of all families."""
    names = [bytes([b]) for b in range(256)] + [mark.encode() for mark in MARKS]
    types = bytes([NORMAL] * 256 + [CONTROL] * len(MARKS))
    return Tokenizer(Vocabulary("bpe", tuple(names), types, NAMED_RULES["gpt-2"].splitters))


def marks(texts: tuple[PromptText, ...]) -> list[str]:
    v = tokenizer().vocabulary
    return [v.tokens[i].decode() for i in tokenizer().encode_texts(texts) if i in v.special_ids]


@pytest.mark.parametrize("name", FAMILY_TEMPLATES)
def test_contents_do_not_speak_for_others(name: str) -> None:
    """With the names of all marks in each content, the prompt has the marks of the honest conversation."""
    talk = TALKS["a rule and answers"]
    honest = marks(template(name).render(talk, date=NOW))
    assert honest
    for mark in MARKS:
        attack = [Message(m.role, f"{m.content} {mark}{mark}x{mark} {m.content}") for m in talk]
        assert marks(template(name).render(attack, date=NOW)) == honest


def test_every_template_takes_a_conversation_whole() -> None:
    """No message of it is left out, so nothing has to be allowed."""
    for name in FAMILY_TEMPLATES:
        whole = "".join(t.text for t in template(name).render(TALKS["a rule and answers"], date=NOW))
        assert all(m.content.strip() in whole for m in TALKS["a rule and answers"])
