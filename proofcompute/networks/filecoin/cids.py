"""Write and read content identifiers (CIDs, version 1) of the few kinds that files take.

The ``multiformats`` package has a fixed table of hashes, which lacks that of pieces, so the binary form is
written here: version, codec, hash and size of the digest as unsigned varints, then the digest
(multiformats specification, "CID" and "unsigned-varint").
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import EnvelopeError

__all__ = ["DAG_PB", "RAW", "SHA2_256", "Cid", "read_varint", "varint"]

RAW: Final = 0x55
"""The codec of bytes as they are."""
DAG_PB: Final = 0x70
"""The codec of nodes with links, in protobuf."""
SHA2_256: Final = 0x12
_VERSION: Final = 1
_VARINT: Final = 9
"""The most bytes of a varint (63 bits)."""
_DIGEST: Final = 128
"""The most bytes of a digest."""
_TEXT: Final = 256
"""The most characters of a CID."""


@dataclass(frozen=True)
class Cid:
    """A content identifier."""

    codec: int
    hash: int
    """The code of the hash function."""
    digest: bytes

    @staticmethod
    def of(codec: int, block: bytes | bytearray | memoryview) -> Cid:
        """Return the CID of a block under SHA-256."""
        return Cid(codec, SHA2_256, hashlib.sha256(block).digest())

    def __bytes__(self) -> bytes:
        """Return the binary form."""
        head = varint(_VERSION) + varint(self.codec) + varint(self.hash) + varint(len(self.digest))
        return head + self.digest

    def __str__(self) -> str:
        """Return the text form in lower-case base32, which begins with ``b``."""
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")

    @staticmethod
    def parse(text: str) -> Cid:
        """Read the text form in base32. Raises EnvelopeError if it is another, or not canonical."""
        if not text.startswith("b") or len(text) > _TEXT:
            raise EnvelopeError("a CID of version 1 in base32 is needed: text that begins with b")
        body = text[1:].upper()
        try:
            data = base64.b32decode(body + "=" * (-len(body) % 8))
        except ValueError:
            raise EnvelopeError("the CID is not base32") from None
        found, end = Cid.read(data, 0)
        if end != len(data) or str(found) != text:
            raise EnvelopeError("the CID is not canonical")
        return found

    @staticmethod
    def read(data: bytes | memoryview, at: int) -> tuple[Cid, int]:
        """Read the binary form at a place; return what is there and where it ends.

        Raises EnvelopeError for another version, or if the bytes end too early.
        """
        version, at = read_varint(data, at)
        if version != _VERSION:
            raise EnvelopeError(f"a CID of version {version}; only version {_VERSION} is read")
        codec, at = read_varint(data, at)
        code, at = read_varint(data, at)
        size, at = read_varint(data, at)
        if size > _DIGEST or at + size > len(data):
            raise EnvelopeError(f"a CID with a digest of {size} bytes")
        return Cid(codec, code, bytes(data[at : at + size])), at + size


def varint(value: int) -> bytes:
    """Return an unsigned varint: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Read an unsigned varint at a place; return it and where it ends.

    Raises EnvelopeError if it ends too early, has more than 63 bits or is not the shortest form.
    """
    value = 0
    for i in range(_VARINT):
        if at + i >= len(data):
            raise EnvelopeError("the bytes end inside a varint")
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            if i and not byte:
                raise EnvelopeError("a varint is not in its shortest form")
            return value, at + i + 1
    raise EnvelopeError(f"a varint has more than {7 * _VARINT} bits")
