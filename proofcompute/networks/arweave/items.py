"""Make, encode, read and check data items, and bundles of them (ANS-104).

The owner signs a *deep hash* of the fields: with H = SHA-384, a byte string of n bytes has the hash
H(H("blob" n) || H(bytes)), n in decimal digits; a list of n parts has the last of h_0 = H("list" n),
h_i = H(h_(i-1) || hash of part i). It covers the words "dataitem" and "1", the type of signature, owner,
target, anchor, the encoded tags and the data. An item's id is the SHA-256 of its signature.

Items are signed here by identities (Ed25519, type 2): what is signed has 48 bytes, and all else that an
identity signs is a digest of 32 bytes or longer text, so neither stands for the other. Items of others may
also be signed with RSA-PSS (type 1), as Arweave's own wallets do it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from proofcompute.commitments.signing import NodeIdentity, signature_holds
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.limits import MIB
from proofcompute.networks.arweave.tags import MAX_TAG_BYTES, Tag, decode, encode

__all__ = ["MAX_BUNDLE", "MAX_DATA", "Item", "bundle", "deep_hash", "sign", "unbundle"]

RSA, ED25519 = 1, 2
_SIZES: Final = {RSA: (512, 512), ED25519: (64, 32)}
"""Bytes of signature and owner, by the type of signature."""
MAX_DATA: Final = 512 * MIB
"""The most bytes of an item's data, which is held in memory."""
MAX_BUNDLE: Final = 1024 * MIB
"""The most bytes of a bundle, likewise."""
MAX_ITEMS: Final = 100_000
"""The most items of a bundle."""
_SALTS: Final = (478, 32, 0)
"""Bytes of salt in signatures of wallets: the most that 4096 bits hold, a digest's, none."""


def deep_hash(parts: bytes | Sequence[bytes]) -> bytes:
    """Return the deep hash of bytes, or of a list of bytes; 48 bytes."""
    if isinstance(parts, bytes):
        return _h(_h(b"blob%d" % len(parts)) + _h(parts))
    found = _h(b"list%d" % len(parts))
    for part in parts:
        found = _h(found + deep_hash(part))
    return found


def _h(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


@dataclass(frozen=True, kw_only=True)
class Item:
    """A data item: bytes with tags, signed by their owner."""

    kind: int = ED25519
    """The type of signature: 1 for RSA-PSS, 2 for Ed25519."""
    signature: bytes = b""
    owner: bytes
    """Public key: 32 bytes of Ed25519, 512 of RSA."""
    target: bytes = b""
    """An address that it is sent to, 32 bytes, or none."""
    anchor: bytes = b""
    """What tells it from another item with the same content, 32 bytes, or none."""
    tags: tuple[Tag, ...] = ()
    data: bytes

    @property
    def id(self) -> bytes:
        """The id, 32 bytes."""
        return hashlib.sha256(self.signature).digest()

    def message(self) -> bytes:
        """Return what the owner signs, 48 bytes."""
        fields = (self.owner, self.target, self.anchor, encode(self.tags), self.data)
        return deep_hash((b"dataitem", b"1", b"%d" % self.kind, *fields))

    def encode(self) -> bytes:
        """Return the item as bytes."""
        tags = encode(self.tags)
        optional = [b"\1" + field if field else b"\0" for field in (self.target, self.anchor)]
        numbers = len(self.tags).to_bytes(8, "little") + len(tags).to_bytes(8, "little")
        head = (self.kind.to_bytes(2, "little"), self.signature, self.owner, *optional, numbers)
        return b"".join((*head, tags, self.data))

    @staticmethod
    def decode(raw: bytes) -> Item:
        """Read an item; :meth:`check` checks its signature.

        Raises EnvelopeError if it is malformed, or has a type of signature that is not read here.
        """
        at = 0

        def take(n: int) -> bytes:
            nonlocal at
            piece = raw[at : at + n]
            at += n
            if len(piece) < n:
                raise EnvelopeError("the data item ends early")
            return piece

        kind = int.from_bytes(take(2), "little")
        if kind not in _SIZES:
            raise EnvelopeError(f"the data item has a signature of type {kind}; types 1 and 2 are read here")
        nsignature, nowner = _SIZES[kind]
        signature, owner = take(nsignature), take(nowner)
        target, anchor = (_optional(take, name) for name in ("target", "anchor"))
        count, nbytes = int.from_bytes(take(8), "little"), int.from_bytes(take(8), "little")
        if nbytes > MAX_TAG_BYTES:
            raise EnvelopeError(f"the data item has tags of {nbytes} bytes, at most {MAX_TAG_BYTES}")
        tags = decode(take(nbytes), count)
        data = raw[at:]
        if len(data) > MAX_DATA:
            raise EnvelopeError(f"the data item has {len(data)} bytes of data, at most {MAX_DATA} are read")
        return Item(
            kind=kind, signature=signature, owner=owner, target=target, anchor=anchor, tags=tags, data=data
        )

    def check(self, owner: bytes | None = None) -> None:
        """Check the signature, and whose it is if that is given.

        Raises EnvelopeError if the owner did not sign the item, or is another.
        """
        if owner is not None and owner != self.owner:
            raise EnvelopeError("the data item is another owner's")
        holds = _rsa_holds if self.kind == RSA else signature_holds
        if not holds(self.owner, self.message(), self.signature):
            raise EnvelopeError("the owner did not sign the data item")


def _optional(take: Callable[[int], bytes], name: str) -> bytes:
    mark = take(1)
    if mark not in (b"\0", b"\1"):
        raise EnvelopeError(f"the data item says neither that it has a {name} nor that it has none")
    return take(32) if mark == b"\1" else b""


def _rsa_holds(owner: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an RSA-PSS signature with SHA-256 holds, whatever its salt of the usual lengths."""
    from Crypto.Hash import SHA256
    from Crypto.PublicKey import RSA as KEYS
    from Crypto.Signature import pss

    n = int.from_bytes(owner)
    if n.bit_length() != 4096 or n % 2 == 0:
        return False
    try:
        key = KEYS.construct((n, 65537))
    except ValueError:  # a modulus that the exponent divides, which is no key
        return False
    for salt in _SALTS:
        try:
            pss.new(key, salt_bytes=salt).verify(SHA256.new(message), signature)
        except ValueError:
            continue
        return True
    return False


def sign(data: bytes, tags: Sequence[Tag], identity: NodeIdentity, anchor: bytes = b"") -> Item:
    """Return a signed item. Raises InputError for tags that none may have, or too much data."""
    if len(data) > MAX_DATA:
        raise InputError(f"an item here has at most {MAX_DATA} bytes of data, not {len(data)}")
    if len(anchor) not in (0, 32):
        raise InputError("an anchor has 32 bytes")
    item = Item(owner=identity.public, anchor=anchor, tags=tuple(tags), data=data)
    return Item(
        signature=identity.sign(item.message()), owner=item.owner, anchor=anchor, tags=item.tags, data=data
    )


# -- bundles -----------------------------------------------------------------------------------------------


def bundle(items: Sequence[Item]) -> bytes:
    """Return the body of a bundle. Raises InputError for too many items, or too many bytes."""
    raw = [item.encode() for item in items]
    if len(raw) > MAX_ITEMS or sum(map(len, raw)) > MAX_BUNDLE:
        raise InputError(f"a bundle here has at most {MAX_ITEMS} items and {MAX_BUNDLE} bytes")
    pairs = [len(data).to_bytes(32, "little") + item.id for data, item in zip(raw, items, strict=True)]
    return b"".join((len(raw).to_bytes(32, "little"), *pairs, *raw))


def unbundle(body: bytes) -> list[Item]:
    """Return the items of a bundle, each with its signature checked.

    Raises EnvelopeError if the bundle is malformed, has bytes beyond its items, an id that is not the item's,
    or an item that its owner did not sign.
    """
    if len(body) > MAX_BUNDLE:
        raise EnvelopeError(f"the bundle has {len(body)} bytes, at most {MAX_BUNDLE} are read")
    count = int.from_bytes(body[:32], "little")
    if len(body) < 32 or count > MAX_ITEMS or len(body) < 32 + 64 * count:
        raise EnvelopeError("the bundle ends before its list of items does, or has too many")
    at, items = 32 + 64 * count, []
    for i in range(count):
        pair = body[32 + 64 * i : 96 + 64 * i]
        n = int.from_bytes(pair[:32], "little")
        if n > len(body) - at:
            raise EnvelopeError("an item of the bundle is larger than what is left of it")
        item = Item.decode(body[at : at + n])
        if item.id != pair[32:]:
            raise EnvelopeError("an item of the bundle has another id than the bundle says")
        item.check()
        items.append(item)
        at += n
    if at != len(body):
        raise EnvelopeError(f"the bundle has {len(body) - at} bytes after its items")
    return items
