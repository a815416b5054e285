"""The fenced blocks and links of a Markdown file, as far as this repository's documentation uses them.

A block runs in the tests if ``<!-- run -->`` stands on the line before its fence, or ``<!-- run model -->``
if it needs the packaged demo model, or ``<!-- run torch -->`` if it needs PyTorch.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MARK = re.compile(r"<!--\s*run(?P<model>\s+model)?(?P<torch>\s+torch)?\s*-->")
FENCE = re.compile(r"(?P<ticks>`{3,})(?P<language>[\w-]*)\s*")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
SHELLS = ("console", "bash", "sh")


class Block(NamedTuple):
    """One fenced block."""

    language: str
    line: int
    """Number of the fence's line, from 1."""
    text: str
    run: bool
    model: bool
    torch: bool = False


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a document; ValueError if one never ends or a mark marks nothing."""
    found: list[Block] = []
    lines = text.split("\n")
    mark: re.Match[str] | None = None
    i = 0
    while i < len(lines):
        fence = FENCE.fullmatch(lines[i])
        if fence is None:
            if mark is not None:
                raise ValueError(f"line {i}: a run mark, but no fence on the next line")
            mark = MARK.fullmatch(lines[i].strip())
            i += 1
            continue
        end = next((j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence["ticks"]), None)
        if end is None:
            raise ValueError(f"line {i + 1}: a fence that is never closed")
        body = "\n".join(lines[i + 1 : end]) + "\n"
        if mark is not None and fence["language"] not in ("python", *SHELLS):
            raise ValueError(f"line {i + 1}: cannot run a block of {fence['language'] or 'no language'}")
        needs = [bool(mark and mark[what]) for what in ("model", "torch")]
        found.append(Block(fence["language"], i + 1, body, mark is not None, *needs))
        mark = None
        i = end + 1
    if mark is not None:
        raise ValueError("a run mark at the end of the file")
    return found


def shell_script(block: Block) -> str:
    """The commands of a shell block: the lines after ``$``, with continuations; output is left out.

    A bash or sh block without any ``$`` line is a script as it stands. ValueError if a console block holds
    no command.
    """
    commands: list[str] = []
    continued = False
    for line in block.text.split("\n"):
        if line.startswith("$ "):
            commands.append(line[2:])
        elif continued:
            commands.append(line.removeprefix("> "))
        else:
            continue
        continued = commands[-1].endswith("\\")
    if commands:
        return "\n".join(commands) + "\n"
    if block.language == "console":
        raise ValueError(f"line {block.line}: a console block without a command")
    return block.text


def links(text: str) -> list[str]:
    """Targets of all links outside fenced blocks and code spans."""
    kept: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        match = FENCE.match(line)
        if fence is None and match is not None:
            fence = match["ticks"]
        elif fence is not None:
            if line.rstrip() == fence:
                fence = None
        else:
            kept.append(re.sub(r"`[^`]*`", "", line))
    return [m["target"] for m in LINK.finditer("\n".join(kept))]
