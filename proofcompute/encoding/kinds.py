"""Recognise the kind of a file by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proofcompute.encoding.files import is_plain
from proofcompute.errors import InputError

__all__ = ["MESSAGES", "kind_in", "kind_of"]

MESSAGES: Final = {
    "proofcompute verifier key": "key",
    "proofcompute interrupted key": "interrupted key",
    "proofcompute request": "request",
    "proofcompute receipt": "receipt",
    "proofcompute challenge": "challenge",
    "proofcompute identity": "identity",
    "proofcompute pipeline": "pipeline",
    "proofcompute opening": "opening",
    "proofcompute model card": "card",
    "proofcompute terms": "terms",
    "proofcompute evidence": "evidence",
    "proofcompute audit policy": "audit policy",
    "proofcompute product key": "product key",
    "proofcompute product request": "product request",
    "proofcompute product receipt": "product receipt",
    "proofcompute product challenge": "product challenge",
    "proofcompute product proof": "product proof",
    "proofcompute public key": "public key",
    "proofcompute public proof": "public proof",
    "proofcompute public factor": "public factor",
    "proofcompute code digests": "code digests",
    "proofcompute beacon": "beacon",
    "proofcompute beacon statement": "beacon statement",
    "proofcompute verdict key": "verdict key",
    "proofcompute signed verdict": "signed verdict",
    "proofcompute quorum verdict": "quorum verdict",
    "proofcompute ledger head": "ledger head",
    "proofcompute ledger export": "ledger export",
}
"""The text with which each kind of file begins, as the first element of a short CBOR array."""

_FRAMED: Final = (
    "opening",
    "interrupted key",
    "evidence",
    "product proof",
    "public proof",
    "code digests",
    "ledger export",
)
_HEAD: Final = 64


def kind_of(path: Path) -> str | None:
    """Return ``gguf``, ``npy``, ``model``, a value of :data:`MESSAGES`, or None.

    This is a guess from the first bytes; a decoder still has to check the whole file. The kind of a pipe or
    anything else that can be read only once is None, and nothing is read from it. Raises InputError if the
    file cannot be read.
    """
    if not is_plain(path):
        return None
    try:
        with path.open("rb") as stream:
            return kind_in(stream.read(_HEAD))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e


def kind_in(data: bytes) -> str | None:
    """Return the kind of a file that begins with these bytes, as :func:`kind_of` does."""
    head = data[:_HEAD]
    if head.startswith(b"GGUF"):
        return "gguf"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[8:9] == b"{":  # safetensors: the header's length in 8 bytes, then JSON
        return "model"
    for text, kind in MESSAGES.items():
        # An array of up to 23 elements (in a file of frames, after the head of the first) begins with a text.
        name = bytes([0x60 + len(text)]) if len(text) < 24 else bytes([0x78, len(text)])
        at = head.find(name + text.encode())
        if at == 1 or (kind in _FRAMED and 1 <= at <= 6):
            return kind
    return None
