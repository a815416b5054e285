"""Defines the texts of a prompt, which differ by their author."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PromptText"]


class PromptText(NamedTuple):
    """A part of a prompt by one author. Adjacent parts read as one text; only control tokens differ."""

    text: str
    """The text, without lone surrogates."""
    trusted: bool
    """Whether names of control tokens in it are control tokens; otherwise they are ordinary letters."""
    doubtful: bool = False
    """Whether the author is unknown; a prompt is refused if the name of a control token touches it."""
