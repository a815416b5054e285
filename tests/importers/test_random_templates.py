"""Templates put together at random: the text that plain Jinja gives, and no trust in what a message wrote.

The template writes capitals, digits and bars, messages write small letters and other signs, so whose a letter
is can be read off the prompt (changes of case are left out). Rendered in this process, as they are ours.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from oracle.transformers_templates import apply_chat_template
from proofcompute.templates.authors import TEMPLATE, Authored, authors_of, join, message_author
from proofcompute.templates.environment import ChatEnvironment
from proofcompute.templates.worker import _messages

NOW = datetime(2024, 7, 26)  # templates know no zones
_FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
OWN = st.text("ABC|0 ", min_size=0, max_size=5)
LITERAL = OWN.map(lambda t: json.dumps(t))
LEAF = st.one_of(
    LITERAL,
    st.sampled_from(
        ["m.content", "m['content']", "messages[0].content", "messages[-1]['content']", "bos_token"]
    ),
)
NUMBER = st.integers(-4, 4)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions over expressions that are texts, and give texts."""
    one = st.sampled_from(
        [
            "({})|trim",
            "({}).strip()",
            "({}).lstrip('ab')",
            "({}).rstrip()",
            "({}).split('a')[-1]",
            "({}).split('A')|join('|')",
            "({}).split()|join",
            "({}).rsplit('b', 1)|join('-')",
            "({}).splitlines()|join(' ')",
            "({}).partition('a')[2]",
            "({}).replace('a', 'X')",
            "({})|replace('A', 'c')",
            "({}).removeprefix('a')",
            "({})|tojson",
            "({})|tojson(indent=1)",
            "{{'K': {}}}|tojson",
            "({})|reverse",
            "({})|list|join('.')",
            "({})|string",
            "({})|default('D')",
            "({})|indent(2)",
            "({})|wordwrap(3)",
            "({})|truncate(4)",
            "({})|center(9)",
            "({})|e",
            "({})|safe",
            "({})|first|default('N', true)",
            "({})|last|default('N', true)",
            "'<%s>' % ({})",
            "'%s|%s' % ({}, 'Z')",
            "'<{{}}>'.format({})",
            "[{}, 'Y']|join",
            "[{}]|first",
            "({{'a': {}}})['a']",
            "({} or 'E')",
            "({} if m.content else 'F')",
            "({}).join(['P', 'Q'])",
            "({}) * 2",
            "(m.content ~ ({}))|length|string",
            "'%d' % ((m.content ~ ({}))|length)",
            "'%c' % ((m.content ~ ({}))|length + 93)",
            "'{{:c}}'.format((m.content ~ ({}))|length + 93)",
            "'%c' | format((m.content ~ ({}))|length + 93)",
            "[(m.content ~ ({}))|length + 90]|join",
            "[(m.content ~ ({}))|length + 90]|tojson",
            "((m.content ~ ({}))|length + 90)|tojson",
        ]
    )
    return st.one_of(
        st.builds(lambda f, x: f.format(x), one, inner),
        st.builds(lambda x, y: f"({x}) + ({y})", inner, inner),
        st.builds(lambda x, y: f"({x}) ~ ({y})", inner, inner),
        st.builds(lambda x, a, b: f"({x})[{a}:{b}]", inner, NUMBER, NUMBER),
        st.builds(lambda x, a: f"({x})[::{a or 1}]", inner, NUMBER),
    )


EXPRESSION = st.recursive(LEAF, grown, max_leaves=5)
FRAME = st.sampled_from(
    [
        "{{{{ {0} }}}}",
        "{{% set x = {0} %}}{{{{ x }}}}",
        "{{% set x %}}A{{{{ {0} }}}}{{% endset %}}{{{{ x }}}}",
        "{{% generation %}}{{{{ {0} }}}}B{{% endgeneration %}}",
        "{{% filter trim %}}{{{{ {0} }}}}{{% endfilter %}}",
        "{{% macro f(y) %}}C{{{{ y }}}}{{{{ m }}}}{{% endmacro %}}{{{{ f({0}) }}}}",
        "{{% macro f(y) %}}{{{{ caller() }}}}{{% endmacro %}}{{% call f({0}) %}}{{{{ {0} }}}}{{% endcall %}}",
        "{{% for c in {0} %}}{{{{ c }}}}{{% endfor %}}",
    ]
)
TEMPLATES = st.builds(
    lambda f, x: "{% for m in messages %}" + f.format(x) + "|{% endfor %}", FRAME, EXPRESSION
)
SAID = st.text("ab \n\"'<>é\U0001f389", max_size=8)


def rendered(source: str, talk: list[tuple[str, str]]) -> Authored:
    """What the sandboxed process renders, with its authors."""
    job: dict[str, Any] = {"messages": talk, "parts": False}
    template = ChatEnvironment().from_string(source)
    return join(template.generate(messages=_messages(job), tools=None, documents=None, bos_token="<S>"))


@settings(max_examples=400)
@given(TEMPLATES, st.lists(SAID, min_size=1, max_size=2))
def test_the_text_is_plain_jinjas_and_messages_are_never_trusted(source: str, said: list[str]) -> None:
    talk = [("user", content) for content in said]
    try:
        expected = apply_chat_template(source, talk, now=NOW, bos_token="<S>")
    except _FAULTS as e:
        with pytest.raises(type(e)):
            rendered(source, talk)
        return
    found = rendered(source, talk)
    assert str.__str__(found) == expected
    for letter, author in zip(str.__str__(found), authors_of(found), strict=True):
        if author == TEMPLATE:
            assert letter not in "abé\U0001f389123456789"
        elif author in (message_author(0), message_author(1)):
            assert letter not in "BCDEFNPQYZ0"
