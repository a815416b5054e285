"""Checks that a file is of the kind that a command needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proofcompute.encoding.files import require_plain
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import InputError

__all__ = ["expect"]

_FILES: Final = (
    "gguf",
    "model",
    "key",
    "interrupted key",
    "npy",
    "product key",
    "product proof",
    "public key",
    "public proof",
    "code digests",
)
"""Kinds of files that are read at several places or more than once, so that a pipe will not do."""
_HINTS: Final = {
    ("gguf", "model"): "; compile it first: proofcompute import",
    ("interrupted key", "key"): "; finish it first: proofcompute keygen",
}


def expect(path: Path, wanted: str) -> None:
    """Raise InputError if a file is recognised as another kind than the one ``wanted``.

    A pipe is refused too where files of this kind are read at several places.
    """
    if wanted in _FILES:
        require_plain(path, wanted)
    found = kind_of(path)
    if found is not None and found != wanted:
        hint = _HINTS.get((found, wanted), "")
        raise InputError(f"{path} is of kind {found}; needed here: {wanted}{hint}")
