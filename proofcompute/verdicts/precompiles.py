"""Lay out a verdict's check for the precompiled contracts of EIP-2537 (docs/spec/verdicts.md#on-a-chain).

Numbers of the field have 64 bytes there, big-endian, the first 16 zero; a point of G1 is x, y, a point of G2
x.c0, x.c1, y.c0, y.c1, and the identity is all zeros. A contract takes the statement's digest, makes the two
field elements of the hash with the precompiled SHA-256 and MODEXP, maps both to G2, adds them, adds up the
signers' keys, and asks for one pairing check:

    e(sum of keys, H(digest)) e(-G, signature) = 1.

Clearing the cofactor is linear, so the sum of two mapped points, each of which MAP_FP2_TO_G2 clears, is the
point that RFC 9380 hashes to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from proofcompute.bls.curve import Curve, curve
from proofcompute.bls.reference import recursion_limit_kept
from proofcompute.bls.signatures import SIGNATURE_TAG
from proofcompute.errors import FormatError, VerdictError, VerdictFault
from proofcompute.verdicts.messages import QuorumVerdict
from proofcompute.verdicts.policy import QuorumPolicy

__all__ = ["PrecompileInputs", "precompile_inputs"]

MODULUS: Final = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16
)
"""The modulus of the field of coordinates."""
_FIELD: Final = 64
"""Bytes of a field element in the precompiled contracts' inputs."""
_WIDE: Final = 64
"""Bytes that are reduced to one field element (L of RFC 9380)."""


@dataclass(frozen=True)
class PrecompileInputs:
    """Inputs of the precompiled contracts, in the order in which a contract calls them."""

    keys: bytes
    """G1ADD (0x0b), pairwise: the signers' keys, 128 bytes each, whose sum is the quorum's key."""
    fields: tuple[bytes, bytes]
    """MAP_FP2_TO_G2 (0x11), once each: the two elements that the digest is hashed to, 128 bytes each."""
    mapped: bytes
    """G2ADD (0x0d): the two mapped points, 512 bytes; its result is the hashed digest."""
    pairing: bytes
    """PAIRING_CHECK (0x0f): 768 bytes, the quorum's key, the hashed digest, -G and the signature."""


def precompile_inputs(policy: QuorumPolicy, verdict: QuorumVerdict) -> PrecompileInputs:
    """Return what a contract gives to the precompiled contracts to check a verdict's signature.

    This checks nothing but that the points are well formed: a contract holds the policy's keys itself, checks
    their proofs of possession when it is given them, and compares threshold, times and receipt as
    :func:`.verify_verdict` does.

    Raises VerdictError if a signer is not in the policy or a point is malformed, and UnsupportedError without
    a library for BLS12-381.
    """
    library = curve("py_ecc")
    members = policy.keys_of(verdict.signers)
    try:
        keys = [library.g1(key) for key in members]
        signature = library.g2(verdict.signature)
    except FormatError as e:
        raise VerdictError(VerdictFault.SIGNATURE, str(e)) from e
    digest = verdict.statement.digest
    hashed = library.hash_to_g2(digest, SIGNATURE_TAG)
    fields = _hashed_fields(digest)
    minus = library.negated(library.generators()[0])
    pairs = (library.total(keys), hashed, minus, signature)
    return PrecompileInputs(
        b"".join(_bytes(library, key) for key in keys),
        fields,
        b"".join(_bytes(library, point) for point in _mapped(fields)),
        b"".join(_bytes(library, point) for point in pairs),
    )


def _bytes(library: Curve, point: object) -> bytes:
    return b"".join(number.to_bytes(_FIELD, "big") for number in library.affine(point))


def _hashed_fields(message: bytes) -> tuple[bytes, bytes]:
    """Return the two elements of F_p^2 that RFC 9380 hashes a message to (hash_to_field, section 5.2)."""
    uniform = _expanded(message, SIGNATURE_TAG, 4 * _WIDE)
    numbers = [int.from_bytes(uniform[i : i + _WIDE], "big") % MODULUS for i in range(0, len(uniform), _WIDE)]
    first, second = (b"".join(n.to_bytes(_FIELD, "big") for n in numbers[i : i + 2]) for i in range(0, 4, 2))
    return first, second


def _expanded(message: bytes, tag: bytes, size: int) -> bytes:
    """Return expand_message_xmd with SHA-256 (RFC 9380, section 5.3.1); a contract has to do the same."""
    suffix = tag + bytes([len(tag)])
    first = hashlib.sha256(bytes(64) + message + size.to_bytes(2, "big") + b"\0" + suffix).digest()
    blocks = [hashlib.sha256(first + b"\1" + suffix).digest()]
    for number in range(2, -(-size // 32) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, blocks[-1], strict=True))
        blocks.append(hashlib.sha256(mixed + bytes([number]) + suffix).digest())
    return b"".join(blocks)[:size]


def _mapped(fields: tuple[bytes, bytes]) -> tuple[object, object]:
    """Return the points that MAP_FP2_TO_G2 makes of two elements."""
    with recursion_limit_kept():
        from py_ecc.bls.hash_to_curve import clear_cofactor_G2, map_to_curve_G2
        from py_ecc.fields import optimized_bls12_381_FQ2

    first, second = (
        clear_cofactor_G2(
            map_to_curve_G2(
                optimized_bls12_381_FQ2([int.from_bytes(data[i : i + _FIELD], "big") for i in (0, _FIELD)])
            )
        )
        for data in fields
    )
    return first, second
