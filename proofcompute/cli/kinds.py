"""What a file is, told by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proofcompute.encoding.files import is_plain, require_plain
from proofcompute.errors import InputError

__all__ = ["MESSAGES", "expect", "kind_in", "kind_of"]

MESSAGES: Final = {
    "proofcompute verifier key": "key",
    "proofcompute interrupted key": "interrupted key",
    "proofcompute request": "request",
    "proofcompute receipt": "receipt",
    "proofcompute challenge": "challenge",
    "proofcompute identity": "identity",
    "proofcompute opening": "opening",
    "proofcompute model card": "card",
    "proofcompute terms": "terms",
}
"""The text that each of our files begins with, as the first element of a short CBOR array."""

_FRAMED: Final = ("opening", "interrupted key")
_FILES: Final = ("gguf", "model", "key", "interrupted key")
"""What is read at several places, or more than once."""
_HEAD: Final = 64
_HINTS: Final = {
    ("gguf", "model"): "; compile it first: proofcompute import",
    ("interrupted key", "key"): "; finish it first: proofcompute keygen",
}


def kind_of(path: Path) -> str | None:
    """``gguf``, ``model``, a value of :data:`MESSAGES`, or None; InputError if it cannot be read.

    Only a guess from the first bytes: whoever reads the file checks all of it. What can be read only once,
    such as a pipe, is left alone: None.
    """
    if not is_plain(path):
        return None
    try:
        with path.open("rb") as stream:
            return kind_in(stream.read(_HEAD))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e


def kind_in(data: bytes) -> str | None:
    """What :func:`kind_of` says of a file that begins with these bytes."""
    head = data[:_HEAD]
    if head.startswith(b"GGUF"):
        return "gguf"
    if head[8:9] == b"{":  # safetensors: the header's length in 8 bytes, then JSON
        return "model"
    for text, kind in MESSAGES.items():
        # an array of up to 23 elements (in a file of frames, inside the head of the first), then a text
        name = bytes([0x60 + len(text)]) if len(text) < 24 else bytes([0x78, len(text)])
        at = head.find(name + text.encode())
        if at == 1 or (kind in _FRAMED and 1 <= at <= 6):
            return kind
    return None


def expect(path: Path, wanted: str) -> None:
    """InputError if the file is plainly another one of ours than the ``wanted`` kind.

    And for a pipe in place of a file that is read at several places.
    """
    if wanted in _FILES:
        require_plain(path, wanted)
    found = kind_of(path)
    if found is not None and found != wanted:
        hint = _HINTS.get((found, wanted), "")
        raise InputError(f"{path} is of kind {found}; needed here: {wanted}{hint}")
