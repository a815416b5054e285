"""Sign with BLS, and check signatures of many under one message (docs/spec/verdicts.md#signatures).

The scheme is that of draft-irtf-cfrg-bls-signature-05 with keys in G1, signatures in G2 and proofs of
possession: suite BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_, as on Ethereum's beacon chain. Of a secret s,
the key is s G, a signature of M is s H(M), and the sum of signatures of one M by several is a signature of M
under the sum of their keys:

    e(k_1 + ... + k_n, H(M)) = e(G, sig_1 + ... + sig_n).

Whoever could choose its key after those of others could take k' - k_1 - ... and sign for all. So a key
counts only with a proof of possession, a signature of the key itself under another tag, which nobody has for
a key whose secret they do not know (T. Ristenpart, S. Yilek, *The power of proofs-of-possession*, Eurocrypt
2007). :func:`signed_by_all` takes this for granted; whoever calls it must have seen :func:`possesses`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from proofcompute.bls.curve import G1_BYTES, G2_BYTES, ORDER, Curve, curve
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_private, write_atomic
from proofcompute.errors import FormatError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.errors.sealed import sealed

__all__ = [
    "KEY",
    "SIGNATURE",
    "SIGNATURE_TAG",
    "VerdictKey",
    "possesses",
    "signed_by_all",
    "total_signature",
]

KIND: Final = "proofcompute verdict key"
VERSION: Final = 1
KEY: Final = G1_BYTES
"""Bytes of a public key."""
SIGNATURE: Final = G2_BYTES
"""Bytes of a signature, and of a proof of possession."""
SIGNATURE_TAG: Final = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
"""Domain separation tag of signatures."""
POSSESSION_TAG: Final = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
"""Domain separation tag of proofs of possession."""


@dataclass(frozen=True)
class VerdictKey:
    """The secret with which an auditor signs verdicts. The file that holds it is secret (mode 0600)."""

    secret: bytes = field(repr=False)
    """The secret number s, 0 < s < ORDER, as 32 big-endian bytes; left out of repr."""

    @staticmethod
    @sealed
    def new() -> VerdictKey:
        """Make a fresh key from the operating system's randomness."""
        return VerdictKey((1 + secrets.randbelow(ORDER - 1)).to_bytes(32, "big"))

    @property
    @sealed
    def public(self) -> bytes:
        """The public key, 48 bytes."""
        library = curve()
        return library.encode(library.times(library.generators()[0], self._number()))

    @sealed
    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 96 bytes."""
        return self._signed(message, SIGNATURE_TAG)

    @sealed
    def possession(self) -> bytes:
        """Return the proof that whoever shows the public key has the secret, 96 bytes."""
        return self._signed(self.public, POSSESSION_TAG)

    @sealed
    def save(self, path: StrPath) -> None:
        """Write the secret to a file that only its owner can read."""
        write_atomic(path_of(path), wire.encode((KIND, VERSION, self.secret)), 0o600)

    @staticmethod
    @sealed
    def load(path: StrPath) -> VerdictKey:
        """Read a key file. Raises InputError if others may read it, FormatError if it is not a key file."""
        data = read_private(path_of(path), 1024, "verdict key")
        top = wire.as_list(wire.decode(data, limit=1024, what="verdict key"), "verdict key", n=3)
        wire.check_head(top, KIND, VERSION)
        made = VerdictKey(wire.as_bytes(top[2], "verdict key", 32))
        made._number()
        return made

    @sealed
    def _number(self) -> int:
        number = int.from_bytes(self.secret, "big")
        if not 0 < number < ORDER:
            raise FormatError("this is not the secret of a verdict key")
        return number

    @sealed
    def _signed(self, message: bytes, tag: bytes) -> bytes:
        library = curve()
        return library.encode(library.times(library.hash_to_g2(message, tag), self._number()))


def possesses(key: bytes, proof: bytes, library: Curve | None = None) -> bool:
    """Return whether ``proof`` shows that somebody has the secret of ``key``; False if either is malformed.

    A proof takes two pairings, so results are kept; all of it is public.
    """
    return _possesses(bytes(key), bytes(proof), library or curve())


@lru_cache(maxsize=1 << 12)
def _possesses(key: bytes, proof: bytes, library: Curve) -> bool:
    return _holds((key,), key, proof, POSSESSION_TAG, library)


def signed_by_all(
    keys: Sequence[bytes], message: bytes, signature: bytes, library: Curve | None = None
) -> bool:
    """Return whether ``signature`` is the sum of signatures of one message under each of the keys.

    False if there is no key, a key or the signature is malformed, or the sum of the keys is the identity. The
    keys must be distinct and their proofs of possession known.
    """
    return _holds(keys, message, signature, SIGNATURE_TAG, library or curve())


def _holds(keys: Sequence[bytes], message: bytes, signature: bytes, tag: bytes, library: Curve) -> bool:
    if not keys:
        return False
    try:
        key = library.total([library.g1(one) for one in keys])
        point = library.g2(signature)
    except FormatError:
        return False
    if library.is_identity(key):
        return False
    minus = library.negated(library.generators()[0])
    return library.pairs_to_one([(key, library.hash_to_g2(message, tag)), (minus, point)])


def total_signature(signatures: Sequence[bytes], library: Curve | None = None) -> bytes:
    """Return the sum of at least one signature, 96 bytes.

    Raises FormatError if one of them is malformed. That each holds is for the caller to check first: one that
    does not spoils the sum.
    """
    used = library or curve()
    return used.encode(used.total([used.g2(one) for one in signatures]))
