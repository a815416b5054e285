"""Sign and check signatures with node identities: Ed25519 key pairs (RFC 8032).

The curve arithmetic is pycryptodome's.

Every node and every verifier must come to the same verdict about a signature (R, S) of a digest M under a key
A, a contract on some chain included; RFC 8032 leaves a choice. With B the base point of order L and
k = SHA-512(R || A || M) mod L, a signature holds here if

1. A is a canonical encoding of a point of order L: no torsion part, and not the identity;
2. 0 <= S < L;
3. the encoding of S B - k A is R, byte for byte: the equation without the cofactor.

R is then canonical and has no torsion part, and S B = R + k A holds, and with it 8 S B = 8 R + 8 k A, so
every implementation of either equation accepts what is accepted here. Conversely, a node that puts a torsion
part into A or R, so that verifiers would disagree about its signature, is refused. Under a key of order L one
signature fits one digest only (up to collisions of SHA-512), and one digest's signature fits no second key. A
node can always sign a digest twice, with two R, so a signature is not an identifier. (Chalkias, Garillot and
Nikolaenko 2020, "Taming the many EdDSAs", eprint 2020/1244.)
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

from proofcompute.encoding import wire
from proofcompute.encoding.files import read_private, write_atomic
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.errors.sealed import sealed

__all__ = ["ED25519", "NodeIdentity", "Scheme", "scheme_of", "signature_holds"]

KIND = "proofcompute identity"
VERSION = 1

ED25519: Final = "ed25519"
"""The name of the signature scheme that this module implements."""


class Scheme(NamedTuple):
    """The sizes of keys and signatures in a signature scheme."""

    key: int
    """Bytes of a public key."""
    signature: int
    """Bytes of a signature."""


_SCHEMES: Final = {ED25519: Scheme(32, 64)}
_RESERVED: Final = ("eip712-secp256k1",)
"""Names that later versions may use; this version cannot check their signatures."""


def scheme_of(name: str) -> Scheme:
    """Return a scheme by its name.

    Raises UnsupportedError for a reserved name, FormatError for any other unknown name.
    """
    if name in _RESERVED:
        raise UnsupportedError(f"signature scheme {name!r} is not supported by this version")
    if name not in _SCHEMES:
        raise FormatError(f"signature scheme {name!r} is none of {', '.join(_SCHEMES)}")
    return _SCHEMES[name]


_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the base point."""
_BASE: Final = b"\x58" + 31 * b"\x66"
"""The encoding of B (RFC 8032, section 5.1)."""


@dataclass(frozen=True)
class NodeIdentity:
    """The signing key of a node, or of an auditor who signs evidence.

    The file that holds it is secret (mode 0600).
    """

    seed: bytes = field(repr=False)
    """The 32-byte private key; left out of repr."""

    @staticmethod
    def new() -> NodeIdentity:
        """Make a fresh key from the operating system's randomness."""
        return NodeIdentity(secrets.token_bytes(32))

    @cached_property  # every receipt names it
    @sealed
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        from Crypto.PublicKey import ECC

        key = ECC.construct(curve="Ed25519", seed=self.seed)
        return bytes(key.public_key().export_key(format="raw"))

    @sealed
    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a digest, 64 bytes."""
        from Crypto.PublicKey import ECC
        from Crypto.Signature import eddsa

        key = ECC.construct(curve="Ed25519", seed=self.seed)
        return bytes(eddsa.new(key, "rfc8032").sign(digest))

    @sealed
    def save(self, path: StrPath) -> None:
        """Write the secret key to a file that only its owner can read."""
        write_atomic(path_of(path), wire.encode((KIND, VERSION, self.seed)), 0o600)

    @staticmethod
    @sealed
    def load(path: StrPath) -> NodeIdentity:
        """Read a key file. Raises InputError if others may read it, FormatError if it is not a key file."""
        data = read_private(path_of(path), 1024, "identity")
        top = wire.as_list(wire.decode(data, limit=1024, what="identity"), "identity", n=3)
        if top[0] != KIND or top[1] != VERSION:
            raise FormatError(f"{path} is not a node identity; make one with 'proofcompute identity'")
        return NodeIdentity(wire.as_bytes(top[2], "identity", 32))


def signature_holds(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Return whether ``signature`` signs ``digest`` under an Ed25519 public key; False for a malformed key.

    The module's docstring states the equation and which keys are refused.
    """
    negated = _negated(public)
    if negated is None or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= _ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r + public + digest).digest(), "little") % _ORDER
    x, y = (_base() * _integer(s) + negated * _integer(k)).xy
    return (int(y) | (int(x) & 1) << 255).to_bytes(32, "little") == r


@lru_cache(maxsize=1024)
def _negated(public: bytes) -> Any:
    """Return -A, or None for a refused key. The cache holds public values only and halves a check's cost."""
    try:
        a = _point(public)
    except ValueError:
        return None
    if a.is_point_at_infinity() or not (a * _integer(_ORDER)).is_point_at_infinity():
        return None
    return -a


def _integer(value: int) -> Any:
    """Return a scalar that is public, which is multiplied faster than a secret one."""
    from Crypto.Math.Numbers import Integer

    try:
        return Integer(value, public=True)
    except TypeError:  # before pycryptodome 4, scalars were all alike
        return Integer(value)


@lru_cache(maxsize=1)
def _base() -> Any:
    return _point(_BASE)


def _point(encoded: bytes) -> Any:
    """Return a point of the curve. Raises ValueError unless ``encoded`` is its canonical encoding."""
    from Crypto.Signature import eddsa

    key = eddsa.import_public_key(encoded)
    if len(encoded) != 32 or bytes(key.export_key(format="raw")) != encoded:
        raise ValueError("not the canonical encoding of a point")
    return key.pointQ
