"""Define the chains of rounds that this version knows, with their keys pinned (docs/spec/beacons.md#chains).

A drand chain is one key, shared among the members of the League of Entropy so that none of them has it. At
genesis + period (n - 1) enough of them sign round n, and the signature, which nobody could predict or choose,
is the round. The values below are those that the network publishes at /info of the chain. The hash names the
chain: it is the SHA-256 of period, genesis, key, seed and name, so nobody can pass off another key under it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import UnsupportedError

__all__ = ["CHAINS", "MAX_ROUND_NUMBER", "QUICKNET", "Chain", "chain_of"]

MAX_ROUND_NUMBER: Final = 1 << 40
"""The greatest round that can be named; quicknet comes to it in 100,000 years."""


@dataclass(frozen=True)
class Chain:
    """A chain of rounds of scheme ``bls-unchained-g1-rfc9380``: keys in G2, signatures in G1."""

    name: str
    hash: bytes
    """The chain's hash, 32 bytes, by which statements name it."""
    key: bytes
    """The chain's public key, 96 bytes, a point of G2."""
    genesis: int
    """The time of round 1, in seconds since the Unix epoch."""
    period: int
    """Seconds from one round to the next."""

    def time_of(self, number: int) -> int:
        """Return the time of a round, in seconds since the Unix epoch."""
        return self.genesis + self.period * (number - 1)

    def first_after(self, seconds: float) -> int:
        """Return the number of the first round that is at ``seconds`` since the Unix epoch, or later."""
        return max(1, int(-(-(seconds - self.genesis) // self.period)) + 1)

    @staticmethod
    def message(number: int) -> bytes:
        """Return the message that the signature of a round signs, 32 bytes."""
        return hashlib.sha256(number.to_bytes(8, "big")).digest()


QUICKNET: Final = Chain(
    name="quicknet",
    hash=bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"),
    key=bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    genesis=1692803367,
    period=3,
)
"""The League of Entropy's chain with a round every 3 seconds."""

CHAINS: Final = {QUICKNET.name: QUICKNET}
"""All chains that this version knows, by their names."""


def chain_of(chain_hash: bytes) -> Chain:
    """Return a chain by its hash. Raises UnsupportedError for one whose key is not pinned here."""
    for chain in CHAINS.values():
        if chain.hash == chain_hash:
            return chain
    raise UnsupportedError(
        f"no key is known of the chain {chain_hash.hex()}; known are {', '.join(CHAINS)} of drand"
    )
