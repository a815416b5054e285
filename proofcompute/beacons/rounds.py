"""Read and check rounds of a chain (docs/spec/beacons.md#rounds)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proofcompute.beacons.chains import MAX_ROUND_NUMBER, Chain
from proofcompute.bls.curve import G1_BYTES, Curve, curve
from proofcompute.encoding.files import read_limited
from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import BeaconError, FormatError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_ROUND

__all__ = ["ROUND_SIGNATURE", "TAG", "Round"]

ROUND_SIGNATURE: Final = G1_BYTES
"""Bytes of the signature of a round."""
TAG: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
"""Domain separation tag of the signatures of rounds."""


@dataclass(frozen=True)
class Round:
    """A round of a chain, as a service sends it; nothing of it is checked."""

    number: int
    signature: bytes
    """The chain's signature of the round, 48 bytes."""

    @property
    def randomness(self) -> bytes:
        """The round's randomness, 32 bytes: the SHA-256 of the signature."""
        return hashlib.sha256(self.signature).digest()

    def check(self, chain: Chain, library: Curve | None = None) -> None:
        """Raise BeaconError unless the chain signed this round. Raises UnsupportedError without py_ecc."""
        if not _signed(chain, self.number, self.signature, library or curve()):
            raise BeaconError(f"{chain.name} did not sign this as its round {self.number}")

    @staticmethod
    def from_json(data: bytes) -> Round:
        """Read a round from JSON as drand's HTTP interface sends it: round, signature, perhaps randomness.

        Raises FormatError or LimitError if it is none, or its randomness is not that of its signature. Other
        keys are ignored; nothing is derived from them.
        """
        found = read_json(data, MAX_ROUND)
        number, signature = found.get("round"), _hex(found.get("signature"), "signature", ROUND_SIGNATURE)
        if type(number) is not int or not 1 <= number <= MAX_ROUND_NUMBER:
            raise FormatError(f"the round is no number from 1 to {MAX_ROUND_NUMBER}")
        made = Round(number, signature)
        if "randomness" in found and _hex(found["randomness"], "randomness", 32) != made.randomness:
            raise FormatError("the randomness of the round is not the SHA-256 of its signature")
        return made

    @staticmethod
    def load(path: StrPath) -> Round:
        """Read a round from a JSON file. Raises as :meth:`from_json`, and InputError if it cannot be read."""
        return Round.from_json(read_limited(path_of(path), MAX_ROUND, "round"))


def _hex(value: object, what: str, size: int) -> bytes:
    if type(value) is not str or len(value) != 2 * size:
        raise FormatError(f"the {what} of a round is text of {2 * size} hexadecimal digits")
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise FormatError(f"the {what} of a round is not hexadecimal") from None
    if data.hex() != value.lower():  # fromhex skips spaces
        raise FormatError(f"the {what} of a round is not hexadecimal")
    return data


@lru_cache(maxsize=1 << 10)
def _signed(chain: Chain, number: int, signature: bytes, library: Curve) -> bool:
    """Return whether e(signature, G) = e(H(message), key). Results are kept, since all of it is public."""
    try:
        point = library.g1(signature)
    except FormatError:
        return False
    hashed = library.hash_to_g1(chain.message(number), TAG)
    generator = library.generators()[1]
    return library.pairs_to_one([(point, library.negated(generator)), (hashed, library.g2(chain.key))])
