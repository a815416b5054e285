"""Chat templates: from messages to the segments of a prompt, on the client's side only.

A template is a Jinja text from the checkpoint, as Hugging Face's ``apply_chat_template`` defines them: it
sees ``messages``, ``add_generation_prompt``, ``bos_token``, ``eos_token`` and ``raise_exception``. There is
no ``strftime_now``: the same conversation gives the same prompt on every day (templates test whether it is
defined).

Two dangers, two measures. The *template* is a stranger's program: it runs in Jinja's immutable sandbox, in a
process of its own with limits on time and memory (:mod:`proofcompute.tokens.render`). The *contents* are a
stranger's text, which must not be able to end its own turn and to speak for another role: the template is
given random placeholders (128 bits each, private-use characters without case or white space) in their stead.
Where a placeholder comes out, the content is put in as an untrusted segment, in which names of control
tokens are ordinary letters. White space at a content's ends stays outside the placeholder, so a template may
trim it. A template that looks inside a content (searches, splits, escapes) sees the placeholder.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import GIB, MAX_TEMPLATE, MAX_TEXT
from proofcompute.tokens.segments import Segment

__all__ = ["Message", "Segment", "render_chat"]

ROLES: Final = ("system", "user", "assistant", "tool")
MAX_MESSAGES: Final = 1 << 10
CPU_SECONDS: Final = 5
"""Processor time of one rendering; the worked examples take 0.1 seconds."""
MEMORY: Final = GIB
"""Address space of the rendering process."""
_WALL_SECONDS: Final = 60
_FIRST_LETTER: Final = 0xE000
"""Start of Unicode's private-use area; a placeholder is 16 letters from the 256 that begin here."""
_WORKER: Final = Path(__file__).with_name("render.py")


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """One of :data:`ROLES`."""
    content: str
    """What was said."""


def render_chat(
    template: str | None,
    messages: Sequence[Message],
    *,
    bos: str = "",
    eos: str = "",
    add_generation_prompt: bool = True,
) -> tuple[Segment, ...]:
    """The prompt for ``messages``; its text is that of all segments, one after the other.

    ``bos`` and ``eos`` are the names of these tokens. With ``add_generation_prompt`` the prompt ends where
    the assistant's answer begins.

    Raises:
        InputError: no template, no messages, or a role that is not in ROLES.
        FormatError: the template is wrong, refuses the conversation, or takes too much time or memory.
        LimitError: the template, the conversation or the prompt is too large.
    """
    if not template:
        raise InputError("the checkpoint has no chat template; give a raw prompt instead of messages")
    if len(template) > MAX_TEMPLATE:
        raise LimitError(f"a chat template of {len(template)} characters, the limit is {MAX_TEMPLATE}")
    _check(messages)
    contents: dict[str, str] = {}
    shown = []
    for message in messages:
        body = message.content.strip()
        placeholder = _placeholder() if body else ""
        before, _, after = message.content.partition(body) if body else (message.content, "", "")
        contents[placeholder] = body
        shown.append({"role": message.role, "content": before + placeholder + after})
    contents.pop("", None)
    text = _render(
        {
            "template": template,
            "context": {
                "messages": shown,
                "add_generation_prompt": add_generation_prompt,
                "bos_token": bos,
                "eos_token": eos,
            },
            "max_output": MAX_TEMPLATE,
            "cpu_seconds": CPU_SECONDS,
            "memory": MEMORY,
        }
    )
    return _fill_in(text, contents)


def _check(messages: Sequence[Message]) -> None:
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


def _placeholder() -> str:
    return "".join(chr(_FIRST_LETTER + byte) for byte in secrets.token_bytes(16))


def _render(job: dict[str, object]) -> str:
    """What the template gives, from a process that can do no harm."""
    # the interpreter and the script are ours; what is untrusted goes through standard input
    command = [sys.executable, "-P", str(_WORKER)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FormatError(f"chat template: not done after {_WALL_SECONDS} seconds") from None
    if done.returncode < 0:
        raise FormatError(f"chat template: takes more than {CPU_SECONDS} seconds or too much memory")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise FormatError(f"chat template: rendering failed with status {done.returncode}") from None
    if "error" in answer:
        raise FormatError(f"chat template: {answer['error']}")
    text: str = answer["text"]
    return text


def _fill_in(text: str, contents: dict[str, str]) -> tuple[Segment, ...]:
    """Cut ``text`` at the placeholders and put the contents there."""
    if not contents:
        return (Segment(text, trusted=True),)
    parts = re.split("(" + "|".join(contents) + ")", text)
    found = (Segment(contents.get(part, part), trusted=part not in contents) for part in parts if part)
    return tuple(found)
