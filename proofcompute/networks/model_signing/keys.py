"""Keys on NIST's curves, in the PEM files that other tools make and read.

Signatures are ECDSA in DER, over the hash that goes with the curve: P-256 with SHA-256, P-384 with SHA-384,
P-521 with SHA-512 (Sigstore's protobuf specifications, "PublicKeyDetails"). Signing is deterministic (RFC
6979), so it takes no randomness. The curve arithmetic is pycryptodome's. Of two numbers that fit, (r, s) and
(r, -s), other tools write either, so a signature is not an identifier.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from proofcompute.encoding.files import read_limited, read_private
from proofcompute.errors import FormatError
from proofcompute.errors.sealed import sealed

__all__ = ["CURVES", "SigningKey", "VerifyingKey"]

CURVES: Final = {"NIST P-256": "SHA256", "NIST P-384": "SHA384", "NIST P-521": "SHA512"}
"""The hash that goes with each curve."""
_MAX_KEY: Final = 1 << 12
"""The most bytes of a file with a key; one on P-521 has some 400."""
_BEGIN: Final = b"-----BEGIN PUBLIC KEY-----\n"
_END: Final = b"-----END PUBLIC KEY-----\n"
_LINE: Final = 64


def _ecc() -> Any:
    return import_module("Crypto.PublicKey.ECC")


def _scheme(key: Any) -> Any:
    return import_module("Crypto.Signature.DSS").new(key, "deterministic-rfc6979", encoding="der")


def _hashed(key: Any, data: bytes) -> Any:
    return import_module(f"Crypto.Hash.{CURVES[key.curve]}").new(data)


@dataclass(frozen=True)
class VerifyingKey:
    """A public key."""

    der: bytes
    """Its SubjectPublicKeyInfo (RFC 5480), with an uncompressed point."""

    @staticmethod
    def load(path: Path) -> VerifyingKey:
        """Read a file that holds one public key in PEM, and nothing else.

        Raises InputError if it cannot be read, FormatError if it holds something else, or a key on another
        curve.
        """
        text = read_limited(path, _MAX_KEY, "public key").replace(b"\r\n", b"\n").rstrip() + b"\n"
        try:
            der = base64.b64decode(text.removeprefix(_BEGIN).removesuffix(_END))
            found = VerifyingKey.of(_ecc().import_key(der))
        except ValueError as e:
            raise FormatError(f"{path} holds no public key in PEM: {e}") from None
        if found.pem != text:
            raise FormatError(f"{path} holds no public key in PEM as other tools write it, or more than one")
        return found

    @staticmethod
    def of(key: Any) -> VerifyingKey:
        """Return the public half of a key of pycryptodome. Raises ValueError for another curve."""
        if key.curve not in CURVES:
            raise ValueError(f"a key on {key.curve}, and not on one of {', '.join(CURVES)}")
        return VerifyingKey(bytes(key.public_key().export_key(format="DER", compress=False)))

    @property
    def pem(self) -> bytes:
        """The key as files hold it (RFC 7468)."""
        text = base64.b64encode(self.der)
        lines = (text[i : i + _LINE] + b"\n" for i in range(0, len(text), _LINE))
        return _BEGIN + b"".join(lines) + _END

    @property
    def hint(self) -> str:
        """How signatures name the key: SHA-256 of its PEM, in hexadecimal digits."""
        return hashlib.sha256(self.pem).hexdigest()

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether a signature, in DER, is of these bytes; False for one in another encoding."""
        key = _ecc().import_key(self.der)
        try:
            _scheme(key).verify(_hashed(key, data), signature)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key."""

    pem: bytes = field(repr=False)
    """The key in PEM, unencrypted."""

    @staticmethod
    @sealed
    def new(curve: str = "NIST P-256") -> SigningKey:
        """Make a fresh key from the operating system's randomness."""
        key = _ecc().generate(curve=curve)
        return SigningKey(str(key.export_key(format="PEM")).encode() + b"\n")

    @staticmethod
    @sealed
    def load(path: Path) -> SigningKey:
        """Read a private key in PEM from a file that only its owner can read.

        Raises InputError if others may read it, FormatError if it is encrypted, no key, or on another curve.
        """
        found = SigningKey(read_private(path, _MAX_KEY, "signing key"))
        try:
            key = _ecc().import_key(found.pem)
            VerifyingKey.of(key)
        except ValueError:
            key = None
        if key is None or not key.has_private():
            raise FormatError(
                f"{path} holds no private key in PEM, unencrypted, on one of {', '.join(CURVES)}"
            )
        return found

    @property
    @sealed
    def public(self) -> VerifyingKey:
        """The public key."""
        return VerifyingKey.of(_ecc().import_key(self.pem))

    @sealed
    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes, in DER."""
        key = _ecc().import_key(self.pem)
        return bytes(_scheme(key).sign(_hashed(key, data)))
