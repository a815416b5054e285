"""Decides which tokens are chat markers and which end an answer, where files leave it open or have it wrong.

As text, a marker would be mere letters in the prompt; as a user-defined token, it would be recognised in the
content of messages too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from proofcompute.models.vocabulary import CONTROL, NORMAL, USER_DEFINED

__all__ = ["correct_marks", "few", "known_ends", "note_user_defined"]

_END_NAMES: Final = frozenset(
    (
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<|return|>",
        "<|call|>",
        "<|END_OF_TURN_TOKEN|>",
        "[|endofturn|]",
    )
)
"""Names of tokens that end an answer in every model; files declare only some of them as ends."""
_MARK: Final = re.compile(r"<[|\uff5c][^|\uff5c<>\s]+[|\uff5c]>|\[\|[^|\[\]\s]+\|\]")
"""The usual forms of chat markers: <|name|>, the same with full-width bars, and [|name|]."""
_MARKS: Final = frozenset(
    (
        "<start_of_turn>",
        "<end_of_turn>",
        "[gMASK]",
        "<sop>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    )
)
"""Chat markers of published models that have another form."""
_SHOWN: Final = 8
"""The most names that a note lists."""


def correct_marks(
    names: list[str],
    kinds: list[int],
    made: Callable[[], Collection[str]],
    bos: int | None,
    notes: list[str],
    *,
    letters: Callable[[str], str] = str,
) -> None:
    """Make control tokens of the chat markers that the file lists as text.

    Args:
        names: the tokens as the file writes them; a marker's becomes its text.
        kinds: their types.
        made: returns what the merges make: such a name is a word, which stays text.
        bos: the token that begins a text, which is a marker whatever its name.
        notes: what was done is appended.
        letters: returns the text of a normal token as the file writes it.
    """
    marks = {}
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if not name.startswith(("<", "[")) or kind not in (NORMAL, USER_DEFINED):
            continue
        text = letters(name) if kind == NORMAL else name
        if _MARK.fullmatch(text) or text in _MARKS or i == bos:
            marks[i] = text
    if not marks:
        return
    words = made()
    if kept := [text for i, text in marks.items() if names[i] in words]:
        notes.append("the tokenizer makes chat markers out of letters: " + few(kept))
    marks = {i: text for i, text in marks.items() if names[i] not in words}
    for i, text in marks.items():
        names[i], kinds[i] = text, CONTROL
    if marks:
        notes.append("listed as text in the file, and used as control tokens: " + few(list(marks.values())))


def known_ends(names: Iterable[str], kinds: Iterable[int]) -> set[int]:
    """Return the tokens that end an answer in every model that has them."""
    return {
        i
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED) and name in _END_NAMES
    }


def note_user_defined(template: str, names: Sequence[str], kinds: Sequence[int], notes: list[str]) -> None:
    """Append a note if the template writes user-defined tokens, which are text and stand in messages too."""
    found = [
        name
        for name, kind in zip(names, kinds, strict=True)
        if kind == USER_DEFINED and len(name) > 2 and not name.isspace() and name in template
    ]
    if found:
        notes.append(
            "user-defined tokens of the chat template, which messages may contain too: " + few(found)
        )


def few(names: Sequence[str]) -> str:
    """Return the first of some names, for a note."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
