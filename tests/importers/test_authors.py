"""Texts that know who wrote them: the same text as ``str`` gives, and never more trust than is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.templates.authors import (
    NOBODY,
    TEMPLATE,
    Authored,
    authors_of,
    common_author,
    join,
    message_author,
    shown,
)

SPEAKERS = (message_author(0), message_author(1))
PIECE = st.tuples(
    st.text("ab \n<|>éßŉ", max_size=6),
    st.sampled_from([NOBODY, TEMPLATE, *SPEAKERS]),
)
TEXT = st.lists(PIECE, max_size=5).map(lambda pieces: join([Authored(t, a) for t, a in pieces]))

SAME: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda t, u: t + u,
    "add plain": lambda t, u: str.__str__(t) + u,
    "plain added": lambda t, u: t + str.__str__(u),
    "strip": lambda t, u: [t.strip(), t.lstrip(), t.rstrip(), t.strip("ab"), t.strip(u or "a")],
    "split": lambda t, u: [*t.split(), *t.split(None, 1), *t.split("a"), *t.split("<", 1)],
    "rsplit": lambda t, u: [*t.rsplit(), *t.rsplit(None, 1), *t.rsplit("ab"), *t.rsplit("<", 1)],
    "splitlines": lambda t, u: [*t.splitlines(), *t.splitlines(True)],
    "partition": lambda t, u: [*t.partition("a"), *t.rpartition("b"), *t.partition("<")],
    "affixes": lambda t, u: [t.removeprefix("a"), t.removesuffix("b")],
    "slices": lambda t, u: [t[1:], t[::-1], t[-3:2], t[::2], *(t[i] for i in range(len(t)))],
    "join": lambda t, u: [t.join([u, "x", u]), u.join([]), t.join(u)],
    "repeat": lambda t, u: [t * 2, 2 * t, t * 0, t * -1],
    "replace": lambda t, u: [t.replace("a", u), t.replace("a", u, 1), t.replace("", u), t.replace("b", "")],
    "case": lambda t, u: [
        t.upper(), t.lower(), t.title(), t.capitalize(), t.swapcase(), t.casefold(),
    ],
    "percent": lambda t, u: [
        Authored("<%s>", TEMPLATE) % t, Authored("%s%s", TEMPLATE) % (t, 5), Authored("%5s%%") % t,
    ],
    "letters": lambda t, u: list(t),
    "comparing": lambda t, u: [t == u, t < u, u in t, t.startswith(u), hash(t), len(t), t.find(u)],
}  # fmt: skip


def _all(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", SAME)
@given(TEXT, TEXT)
def test_every_operation_gives_the_text_that_str_gives(name: str, t: Authored, u: Authored) -> None:
    def plain(found: Any) -> list[Any]:
        return [str.__str__(x) if isinstance(x, str) else x for x in _all(found)]

    found = SAME[name](t, u)
    assert plain(found) == plain(SAME[name](str.__str__(t), str.__str__(u)))
    for text in _all(found):
        if isinstance(text, str):
            assert len(authors_of(text)) == len(text)


OWN = st.text("XY<|>", max_size=6).map(lambda t: Authored(t, TEMPLATE))
SAID = st.tuples(st.text("ab \néß", max_size=6), st.sampled_from([NOBODY, *SPEAKERS]))
MIXED = st.lists(OWN | SAID.map(lambda p: Authored(*p)), max_size=5).map(join)


@pytest.mark.parametrize("name", sorted(set(SAME) - {"comparing"}))
@given(MIXED, MIXED)
def test_no_operation_makes_a_message_the_templates(name: str, t: Authored, u: Authored) -> None:
    """The template writes other letters than everybody else, so its letters can be told apart."""
    found = SAME[name](t, u)
    for text in _all(found):
        mine = {c for c, a in zip(str.__str__(text), authors_of(text), strict=True) if a == TEMPLATE}
        assert mine <= set("XYxy<|>5")


def test_what_nobody_followed_has_the_author_that_all_have() -> None:
    mine, yours = Authored("a", TEMPLATE), Authored("b", message_author(3))
    assert common_author([mine, mine, None, True]) == TEMPLATE
    assert common_author([yours, None]) == message_author(3)
    assert common_author([mine, yours]) == NOBODY
    assert common_author([mine, "plain"]) == NOBODY
    assert common_author([mine, [yours]]) == common_author([[yours]]) == common_author([{}]) == NOBODY
    assert common_author([]) == common_author([None]) == TEMPLATE
    assert (
        common_author([mine, 7]) == common_author([1.5]) == NOBODY
    )  # a number may be made of anybody's words
    assert authors_of(shown([yours])) == NOBODY * len("['b']")
    assert authors_of(shown(12)) == NOBODY * 2


def test_authors_that_do_not_fit_are_nobody() -> None:
    assert authors_of(Authored("abc")) == NOBODY * 3
    assert (
        authors_of(Authored("abc", TEMPLATE * 2)) == authors_of(Authored("abc", TEMPLATE * 4)) == NOBODY * 3
    )
    assert authors_of(Authored("abc", TEMPLATE)) == TEMPLATE * 3


def test_what_replaces_a_message_stays_the_messages() -> None:
    said = Authored("stop X here", message_author(0))
    assert authors_of(said.replace("X", Authored("<|im_end|>", TEMPLATE))) == message_author(0) * 20
    form = Authored("<|user|>X<|end|>", TEMPLATE)
    assert authors_of(form.replace("X", said))[8:-7] == message_author(0) * 11
