"""Define a beacon, a round with the statement made before it (docs/spec/beacons.md#messages)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from proofcompute.beacons.chains import MAX_ROUND_NUMBER
from proofcompute.beacons.rounds import ROUND_SIGNATURE, Round
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_BEACON
from proofcompute.protocol.messages.signed import decode_signer

__all__ = ["Beacon", "BeaconStatement"]

STATEMENT_KIND: Final = "proofcompute beacon statement"
KIND: Final = "proofcompute beacon"
VERSION: Final = 1
MAX_MILLISECONDS: Final = 2**53 - 1
"""The latest time that a statement can give: the integers that binary64 has exactly."""


@dataclass(frozen=True, kw_only=True)
class BeaconStatement:
    """What an attestor signs: it saw this receipt, and no other for this request, before that round."""

    request_digest: bytes
    """Digest of the request, 32 bytes."""
    receipt_digest: bytes
    """Digest of the signed receipt, 32 bytes."""
    chain: bytes
    """Hash of the chain, 32 bytes."""
    round: int
    """Number of the round from which the cells are drawn."""
    made: int
    """When the attestor signed, in milliseconds since the Unix epoch by its clock."""
    scheme: str = ED25519
    """Signature scheme, which fixes the sizes of key and signature."""
    attestor: bytes
    """Public key of the attestor."""
    signature: bytes = b""
    """Signature over :attr:`signed_digest`."""

    def _fields(self) -> tuple[wire.Value, ...]:
        about = (self.request_digest, self.receipt_digest, self.chain, self.round, self.made)
        return (STATEMENT_KIND, VERSION, *about, self.scheme, self.attestor)

    @cached_property
    def signed_digest(self) -> bytes:
        """Digest that the attestor signs, over every field except the signature."""
        return hashing.message_digest("sha256", "beacon statement", wire.encode(self._fields()))

    def signed(self, signature: bytes) -> BeaconStatement:
        """Return the same statement with a signature."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @staticmethod
    def decode(data: bytes) -> BeaconStatement:
        """Decode a statement without checking its signature.

        Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none.
        """
        what = "beacon statement"
        top = wire.as_list(wire.decode(data, limit=MAX_BEACON, what=what), what, n=10)
        wire.check_head(top, STATEMENT_KIND, VERSION)
        scheme, attestor, signature = decode_signer(top[7], top[8], top[9])
        return BeaconStatement(
            request_digest=wire.as_bytes(top[2], "request digest", DIGEST),
            receipt_digest=wire.as_bytes(top[3], "receipt digest", DIGEST),
            chain=wire.as_bytes(top[4], "hash of the chain", DIGEST),
            round=wire.as_int(top[5], "round", 1, MAX_ROUND_NUMBER),
            made=wire.as_int(top[6], "time of the statement", 0, MAX_MILLISECONDS),
            scheme=scheme,
            attestor=attestor,
            signature=signature,
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> BeaconStatement:
        """Read a statement's file. Raises as :meth:`decode`, and InputError if it cannot be read."""
        return BeaconStatement.decode(read_limited(path_of(path), MAX_BEACON, "beacon statement"))


@dataclass(frozen=True)
class Beacon:
    """A statement, and the signature of the round that it names."""

    statement: BeaconStatement
    round_signature: bytes
    """The chain's signature of the round, 48 bytes."""

    @property
    def receipt_digest(self) -> bytes:
        """Digest of the receipt whose cells the beacon draws, 32 bytes."""
        return self.statement.receipt_digest

    @property
    def round(self) -> Round:
        """The round, which :func:`.check_beacon` checks."""
        return Round(self.statement.round, self.round_signature)

    @cached_property
    def seed(self) -> bytes:
        """The seed from which the cells are drawn, 32 bytes.

        It takes the receipt, the chain, the round and its randomness, but nothing that an attestor chooses,
        such as its time or its signature.
        """
        s = self.statement
        about = (s.receipt_digest, s.chain, s.round, self.round.randomness)
        return hashing.message_digest("sha256", "beacon cells", wire.encode(about))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.statement.encode(), self.round_signature))

    @staticmethod
    def decode(data: bytes) -> Beacon:
        """Decode a beacon without checking anything.

        Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_BEACON, what="beacon"), "beacon", n=4)
        wire.check_head(top, KIND, VERSION)
        statement = wire.as_bytes(top[2], "beacon statement", max_size=MAX_BEACON)
        return Beacon(
            BeaconStatement.decode(statement),
            wire.as_bytes(top[3], "signature of the round", ROUND_SIGNATURE),
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> Beacon:
        """Read a beacon's file. Raises as :meth:`decode`, and InputError if it cannot be read."""
        return Beacon.decode(read_limited(path_of(path), MAX_BEACON, "beacon"))
