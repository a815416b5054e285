"""Node identities: Ed25519 key pairs (RFC 8032) by pycryptodome."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from proofcompute import wire
from proofcompute.errors import FormatError
from proofcompute.files import check_private, read_limited, write_atomic

__all__ = ["NodeIdentity", "signature_holds"]

KIND = "proofcompute identity"
VERSION = 1


@dataclass(frozen=True)
class NodeIdentity:
    """A node's signing key. The file that holds it is secret (mode 0600)."""

    seed: bytes = field(repr=False)
    """The 32-byte private key; left out of repr."""

    @staticmethod
    def new() -> NodeIdentity:
        """A fresh key from the operating system's randomness."""
        return NodeIdentity(secrets.token_bytes(32))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        from Crypto.PublicKey import ECC

        key = ECC.construct(curve="Ed25519", seed=self.seed)
        return bytes(key.public_key().export_key(format="raw"))

    def sign(self, digest: bytes) -> bytes:
        """Signature of a digest, 64 bytes."""
        from Crypto.PublicKey import ECC
        from Crypto.Signature import eddsa

        key = ECC.construct(curve="Ed25519", seed=self.seed)
        return bytes(eddsa.new(key, "rfc8032").sign(digest))

    def save(self, path: Path) -> None:
        """Write the secret key file, readable by its owner only."""
        write_atomic(path, wire.encode((KIND, VERSION, self.seed)), 0o600)

    @staticmethod
    def load(path: Path) -> NodeIdentity:
        """Read a key file; InputError if others may read it, FormatError if it is not one."""
        check_private(path, "identity")
        data = read_limited(path, 1024, "identity")
        top = wire.as_list(wire.decode(data, limit=1024, what="identity"), "identity", n=3)
        if top[0] != KIND or top[1] != VERSION:
            raise FormatError(f"{path} is not a node identity; make one with 'proofcompute identity'")
        return NodeIdentity(wire.as_bytes(top[2], "identity", 32))


def signature_holds(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``digest`` under an Ed25519 public key; False for a malformed key.

    A key of small order (8 A = 0) is refused too: under it, one signature fits every message.
    """
    from Crypto.Signature import eddsa

    try:
        key = eddsa.import_public_key(public)
        eddsa.new(key, "rfc8032").verify(digest, signature)
    except ValueError:
        return False
    return not bool((key.pointQ * 8).is_point_at_infinity())
