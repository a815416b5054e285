"""Applies chat templates: turns messages into the texts of a prompt, on the client's side (docs/prompts.md).

A template is a Jinja text from the checkpoint. It works on the real contents in transformers' environment, so
the prompt's text equals that of ``apply_chat_template``, letter by letter. The author of each letter is
tracked (:mod:`proofcompute.templates.authors`): the template's text may name control tokens, a message's text
never does, and if the author is unknown, the prompt is refused if it matters.

Then every message is searched for in the prompt. A message was dropped if no letter of it is in the prompt
and another content in its place would have given the same prompt; templates without a system role, or that
read the first message only, drop messages silently. Some templates expect contents as lists of parts and drop
texts; they get parts then. A message was cut if some of its letters are missing. Templates may cut thoughts
from earlier answers; of a user's, system's or tool's message nothing but white space may be missing, unless
the caller allows it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import date as Date  # "date" is an argument's name here
from datetime import datetime, time
from typing import Final, NamedTuple

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import KIB, MAX_TEMPLATE, MAX_TEXT
from proofcompute.templates.authors import NOBODY, TEMPLATE, message_author
from proofcompute.templates.process import Rendered, Renderer, TemplateFaultError, TemplateRefusalError
from proofcompute.tokens.prompt_text import PromptText

__all__ = ["ChatTemplate", "Message", "PromptText", "render_chat"]

ROLES: Final = ("system", "user", "assistant", "tool")
MAX_MESSAGES: Final = 1 << 10
OWN_TEXT: Final = 256 * KIB
"""The most characters of a template's own in a prompt; published templates write some thousands."""
GROWTH: Final = 8
"""The largest factor by which contents may grow; JSON can make six characters of one."""
MAX_PROBES: Final = 16
"""The most messages without a letter in the prompt that are examined one by one."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """One of :data:`ROLES`."""
    content: str
    """The text of the message."""


class ChatTemplate:
    """A chat template with its rendering process, which the first conversation starts and later ones reuse.

    ``bos`` and ``eos`` are the names of these tokens, empty if a model has none; they are then undefined in
    the template. Call :meth:`close` at the end; threads may share it.

    Raises InputError if there is no template, LimitError if it has more than MAX_TEMPLATE characters.
    """

    def __init__(self, template: str | None, *, bos: str = "", eos: str = "") -> None:
        if not template:
            raise InputError("the checkpoint has no chat template; give a raw prompt instead of messages")
        if len(template) > MAX_TEMPLATE:
            raise LimitError(f"the chat template has {len(template)} characters, the limit is {MAX_TEMPLATE}")
        self._renderer = Renderer(template)
        named = {"bos_token": bos, "eos_token": eos}
        self._variables: dict[str, object] = {k: v for k, v in named.items() if v}

    def start(self) -> None:
        """Start the process that renders; raises as :meth:`.Renderer.start`."""
        self._renderer.start()

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        date: Date | None = None,
        may_omit: bool = False,
        max_output: int = MAX_TEXT,
    ) -> tuple[PromptText, ...]:
        """Return the prompt for ``messages`` as texts, to be read one after the other.

        Args:
            messages: the conversation.
            add_generation_prompt: whether the prompt ends where the assistant's answer begins.
            date: the date that the template sees as today, or as now if it has a time; None: now.
            may_omit: whether the template may drop and cut messages.
            max_output: the most characters of the prompt; OWN_TEXT plus GROWTH times the contents at most.

        Raises:
            InputError: there are no messages, a role is not in ROLES, or a message was dropped or cut.
            FormatError: the template is wrong, refuses the conversation, or takes too much time or memory; or
                a content has lone surrogates.
            LimitError: the conversation is too large.
        """
        max_output = min(max_output, OWN_TEXT + GROWTH * _check(messages))
        when = datetime.now() if date is None else _moment(date)
        variables = {**self._variables, "add_generation_prompt": add_generation_prompt}

        def rendered(talk: Sequence[Message], *, parts: bool = False) -> Rendered:
            return self._renderer.render(talk, variables, date=when, max_output=max_output, parts=parts)

        def matters(i: int, found: Rendered) -> bool:
            """Return whether the prompt would differ if message ``i`` had another content."""
            other = [*messages]
            other[i] = Message(messages[i].role, secrets.token_hex(8))
            try:
                return rendered(other).text != found.text
            except FormatError:  # the template read the content and failed
                return True

        found: Rendered | None = None
        failure: FormatError | None = None
        dropped = [0]
        try:
            found = rendered(messages)
            missing = [] if may_omit else _missing(found, messages)
            dropped = missing[MAX_PROBES:] or [i for i in missing if not matters(i, found)]
        except TemplateRefusalError:
            raise
        except TemplateFaultError as e:
            failure = e
        if dropped:
            try:
                in_parts = rendered(messages, parts=True)
                if not _missing(in_parts, messages):
                    found, dropped = in_parts, []
            except FormatError as e:
                failure = failure or e
        if found is None:
            raise failure or AssertionError("a rendering fails with an error")
        if dropped:
            raise InputError(
                f"the chat template leaves out message {dropped[0] + 1} ({messages[dropped[0]].role}), for "
                "which it has no place; join it to another message, or allow messages to be left out"
            )
        if not may_omit:
            _check_whole(found, messages)
        return _texts(found)

    def close(self) -> None:
        """End the rendering process."""
        self._renderer.close()


def render_chat(
    template: str | None,
    messages: Sequence[Message],
    *,
    bos: str = "",
    eos: str = "",
    add_generation_prompt: bool = True,
    date: Date | None = None,
    may_omit: bool = False,
) -> tuple[PromptText, ...]:
    """Return the prompt for one conversation; see :class:`ChatTemplate` for arguments and errors."""
    chat = ChatTemplate(template, bos=bos, eos=eos)
    try:
        return chat.render(
            messages, add_generation_prompt=add_generation_prompt, date=date, may_omit=may_omit
        )
    finally:
        chat.close()


def _check(messages: Sequence[Message]) -> int:
    """Check that messages are a conversation, and return the number of their characters."""
    if not messages:
        raise InputError("a conversation needs at least one message")
    if len(messages) > MAX_MESSAGES:
        raise LimitError(f"{len(messages)} messages, the limit is {MAX_MESSAGES}")
    size = 0
    for role, content in messages:
        if role not in ROLES:
            raise InputError(f"role {role!r} is none of {', '.join(ROLES)}")
        size += len(content)
        if size > MAX_TEXT:
            raise LimitError(f"the conversation has more than {MAX_TEXT} characters")
        if re.search("[\ud800-\udfff]", content):
            raise FormatError("a message has lone surrogates")
    return size


def _moment(date: Date) -> datetime:
    return date if isinstance(date, datetime) else datetime.combine(date, time())


def _missing(found: Rendered, messages: Sequence[Message]) -> list[int]:
    """Return the indices of messages that have letters, none of which is in the prompt."""
    amounts = _amounts(found, len(messages))
    return [i for i, m in enumerate(messages) if m.content.strip() and not amounts[i]]


def _amounts(found: Rendered, n: int) -> list[int]:
    """Return how many letters of the prompt each message wrote, without white space."""
    codes, amounts, at = {message_author(i): i for i in range(n)}, [0] * n, 0
    for author, length in found.authors:
        if author in codes:
            amounts[codes[author]] += _letters(found.text[at : at + length])
        at += length
    return amounts


def _letters(text: str) -> int:
    return sum(map(len, text.split()))


def _check_whole(found: Rendered, messages: Sequence[Message]) -> None:
    """Raise InputError if a part of a message is missing that is not the assistant's."""
    for i, (m, amount) in enumerate(zip(messages, _amounts(found, len(messages)), strict=True)):
        if m.role != "assistant" and 0 < amount < _letters(m.content):
            raise InputError(
                f"the chat template leaves out {_letters(m.content) - amount} characters of message {i + 1} "
                f"({m.role}); change the message, or allow parts to be left out"
            )


def _texts(found: Rendered) -> tuple[PromptText, ...]:
    texts, at = [], 0
    for author, length in found.authors:
        text = found.text[at : at + length]
        texts.append(PromptText(text, trusted=author == TEMPLATE, doubtful=author == NOBODY))
        at += length
    return tuple(texts)
