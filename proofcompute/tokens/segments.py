"""Pieces of a prompt, told apart by who wrote them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Segment"]


class Segment(NamedTuple):
    """A piece of a prompt. Adjacent segments read as one text; only the meaning of control tokens differs."""

    text: str
    """Any text without lone surrogates."""
    trusted: bool
    """True: names of control tokens in it are control tokens. False: they are letters like any other."""
    doubtful: bool = False
    """Nobody knows who wrote it: a prompt is refused if the name of a control token touches it."""
