"""Writes SentencePiece's precompiled map of characters; see proofcompute.models.charsmap for the format."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any


def charsmap(replacements: Mapping[str, str]) -> bytes:
    """A map of some texts to others; each node of the trie has a block of 256 units of its own."""
    trie: dict[Any, Any] = {}
    texts = b""
    for old, new in sorted(replacements.items()):
        node = trie
        for byte in old.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += new.encode() + b"\0"
    units = [0] * 256

    def place(at: int, label: int, node: Mapping[Any, Any]) -> None:
        base = len(units)
        units.extend([0] * 256)
        units[at] = label | (0 in node) << 8 | (at ^ base) << 10
        if 0 in node:
            units[base] = 1 << 31 | node[0]
        for byte, below in node.items():
            if byte:
                place(base ^ byte, byte, below)

    place(0, 0, trie)
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts
