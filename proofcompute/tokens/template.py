"""Chat templates: from messages to the segments of a prompt, on the client's side only (docs/prompts.md).

A template is a Jinja text from the checkpoint. It works on the real contents in transformers' environment, so
the text of the prompt is what ``apply_chat_template`` gives, letter by letter. Beside it stands who wrote
each letter (:mod:`proofcompute.templates.authors`): what the template wrote may name control tokens,
what a message said never does, and where nobody knows, the prompt is refused if it matters.

Then every message is looked for. One of which nothing stands in the prompt, and in whose place another
content would have given the same prompt, was dropped: templates without a system role, or that look at the
first message only, do that in silence. Some templates take contents as lists of parts and drop texts; they
are given parts then. A message of which something is missing was cut. Templates cut thoughts from earlier
answers, as is meant; from what a user, a system or a tool said, nothing may be missing but white space,
unless the caller allows it.
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
from proofcompute.templates.authors import NOBODY, TEMPLATE, message
from proofcompute.templates.process import Rendered, Renderer, TemplateFaultError, TemplateRefusalError
from proofcompute.tokens.segments import Segment

__all__ = ["ChatTemplate", "Message", "Segment", "render_chat"]

ROLES: Final = ("system", "user", "assistant", "tool")
MAX_MESSAGES: Final = 1 << 10
OWN_TEXT: Final = 256 * KIB
"""Characters that a template may write of its own; published ones write some thousands."""
GROWTH: Final = 8
"""How many times as long contents may become; JSON can make six characters of one."""
MAX_PROBES: Final = 16
"""Messages without a trace in the prompt that are looked into one by one."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """One of :data:`ROLES`."""
    content: str
    """What was said."""


class ChatTemplate:
    """A chat template with its rendering process, which is started by the first conversation and kept.

    ``bos`` and ``eos`` are the names of these tokens, empty where a model has none: a template then finds
    them undefined. Use it in a ``with`` statement or call :meth:`close`; threads may share it.

    Raises InputError without a template, LimitError for one of more than MAX_TEMPLATE characters.
    """

    def __init__(self, template: str | None, *, bos: str = "", eos: str = "") -> None:
        if not template:
            raise InputError("the checkpoint has no chat template; give a raw prompt instead of messages")
        if len(template) > MAX_TEMPLATE:
            raise LimitError(f"a chat template of {len(template)} characters, the limit is {MAX_TEMPLATE}")
        self._renderer = Renderer(template)
        named = {"bos_token": bos, "eos_token": eos}
        self._variables: dict[str, object] = {k: v for k, v in named.items() if v}

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        date: Date | None = None,
        may_omit: bool = False,
        max_output: int = MAX_TEXT,
    ) -> tuple[Segment, ...]:
        """The prompt for ``messages``; its text is that of all segments, one after the other.

        Args:
            messages: the conversation.
            add_generation_prompt: the prompt ends where the assistant's answer begins.
            date: what the template takes for today, or for now if it has a time; None: now.
            may_omit: the template may drop and cut messages as it likes.
            max_output: most characters of the prompt; never more than OWN_TEXT and GROWTH times the contents.

        Raises:
            InputError: no messages, a role that is not in ROLES, or a message that was dropped or cut.
            FormatError: the template is wrong, refuses the conversation, or takes too much time or memory; or
                a
                content has lone surrogates.
            LimitError: the conversation is too large.
        """
        max_output = min(max_output, OWN_TEXT + GROWTH * _check(messages))
        when = datetime.now() if date is None else _moment(date)
        variables = {**self._variables, "add_generation_prompt": add_generation_prompt}

        def rendered(talk: Sequence[Message], *, parts: bool = False) -> Rendered:
            return self._renderer.render(talk, variables, date=when, max_output=max_output, parts=parts)

        def shapes_it(i: int, found: Rendered) -> bool:
            """Whether the prompt would be another one if message ``i`` said something else."""
            other = [*messages]
            other[i] = Message(messages[i].role, secrets.token_hex(8))
            try:
                return rendered(other).text != found.text
            except FormatError:  # the template looked at it and stumbled
                return True

        found: Rendered | None = None
        failure: FormatError | None = None
        dropped = [0]
        try:
            found = rendered(messages)
            missing = [] if may_omit else _missing(found, messages)
            dropped = missing[MAX_PROBES:] or [i for i in missing if not shapes_it(i, found)]
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
                f"the chat template leaves out message {dropped[0] + 1} ({messages[dropped[0]].role}): it "
                "has no place for it; join it to another message, or allow messages to be left out"
            )
        if not may_omit:
            _check_whole(found, messages)
        return _segments(found)

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
) -> tuple[Segment, ...]:
    """The prompt for one conversation; see :class:`ChatTemplate` for arguments and errors."""
    chat = ChatTemplate(template, bos=bos, eos=eos)
    try:
        return chat.render(
            messages, add_generation_prompt=add_generation_prompt, date=date, may_omit=may_omit
        )
    finally:
        chat.close()


def _check(messages: Sequence[Message]) -> int:
    """The characters of all messages, once they are a conversation."""
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
    """The messages that say something of which nothing stands in the prompt."""
    amounts = _amounts(found, len(messages))
    return [i for i, m in enumerate(messages) if m.content.strip() and not amounts[i]]


def _amounts(found: Rendered, n: int) -> list[int]:
    """How many letters each message wrote into the prompt, white space not counted."""
    codes, amounts, at = {message(i): i for i in range(n)}, [0] * n, 0
    for author, length in found.authors:
        if author in codes:
            amounts[codes[author]] += _letters(found.text[at : at + length])
        at += length
    return amounts


def _letters(text: str) -> int:
    return sum(map(len, text.split()))


def _check_whole(found: Rendered, messages: Sequence[Message]) -> None:
    """InputError if something is missing of what anybody but the assistant said."""
    for i, (m, amount) in enumerate(zip(messages, _amounts(found, len(messages)), strict=True)):
        if m.role != "assistant" and 0 < amount < _letters(m.content):
            raise InputError(
                f"the chat template leaves out {_letters(m.content) - amount} characters of message {i + 1} "
                f"({m.role}); change the message, or allow parts to be left out"
            )


def _segments(found: Rendered) -> tuple[Segment, ...]:
    segments, at = [], 0
    for author, length in found.authors:
        text = found.text[at : at + length]
        segments.append(Segment(text, trusted=author == TEMPLATE, doubtful=author == NOBODY))
        at += length
    return tuple(segments)
