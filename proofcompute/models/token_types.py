"""Numbers the types of tokens, and the ways in which they are found in a text."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALONE",
    "BYTE",
    "CONTROL",
    "EVERY_WAY",
    "FOUND",
    "LEFT",
    "NORMAL",
    "NORMALISED",
    "RIGHT",
    "SILENT",
    "TYPES",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
]

NORMAL: Final = 1
UNKNOWN: Final = 2
CONTROL: Final = 3
USER_DEFINED: Final = 4
UNUSED: Final = 5
BYTE: Final = 6
TYPES: Final = frozenset((NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE))
"""Token types, numbered as in the GGUF specification (``tokenizer.ggml.token_type``)."""
SILENT: Final = frozenset((UNKNOWN, CONTROL, UNUSED))
"""Types that print nothing."""

FOUND: Final = 1
LEFT: Final = 2
RIGHT: Final = 4
ALONE: Final = 8
NORMALISED: Final = 16
"""How a token is found in a text before the model reads it, added up; 0: the model alone writes it.

FOUND: by its name. LEFT, RIGHT: with the white space before, after it. ALONE: between no letters of words.
NORMALISED: its normalised name in the normalised text."""
EVERY_WAY: Final = FOUND | LEFT | RIGHT | ALONE | NORMALISED
