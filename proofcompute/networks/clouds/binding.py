"""Say what binds a receipt into an attestation: the SHA-256 of its bytes, in each cloud's own field.

An attestation says which program ran in which machine. The program may put a few bytes into it, and puts the
receipt's hash there. So the machine's maker signs that this program knew this receipt, which is less than
that its answer is right: that is what audits are for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import EnvelopeError, InputError

__all__ = ["Attested", "bound_bytes", "bound_text", "check_now", "check_report_data", "forms"]

REPORT_DATA: Final = 64
"""Bytes of the field of a quote's report."""

MAX_NOW: Final = 253_402_300_799
"""The last second of the year 9999, since the Unix epoch."""


@dataclass(frozen=True)
class Attested:
    """What an attestation says beside the receipt that is bound into it."""

    kind: str
    """Which kind of attestation it is."""
    measurements: dict[str, str]
    """What the program or its image hashes to, in hexadecimal digits, by their own names."""
    made: int
    """When it was made, in seconds since the Unix epoch; 0 if it does not say."""
    status: str = ""
    """What the maker says of the machine's own software, if it does."""
    advisories: tuple[str, ...] = ()
    """The maker's advisories that apply."""


def bound_bytes(receipt: bytes) -> bytes:
    """Return what is put into a field of bytes, 32 bytes."""
    return hashlib.sha256(receipt).digest()


def bound_text(receipt: bytes) -> str:
    """Return what is put into a field of text, 64 hexadecimal digits."""
    return bound_bytes(receipt).hex()


def forms(receipt: bytes) -> dict[str, str]:
    """Return what is put where, by cloud and field; bytes are in hexadecimal digits."""
    digest = bound_text(receipt)
    return {
        "AWS Nitro Enclaves: user_data": digest,
        "Google Confidential Space: nonces": digest,
        "Microsoft Azure Attestation: runtime data": f'{{"user-data":"{digest}"}}',
        "SGX and TDX: report data": digest + (REPORT_DATA - 32) * "00",
    }


def check_now(now: int) -> None:
    """Check the time that a caller gives. Raises InputError unless it is one of the years 1970 to 9999."""
    if not 0 <= now <= MAX_NOW:
        raise InputError(f"{now} is no time: give seconds since the Unix epoch")


def check_report_data(found: bytes, bound: bytes) -> None:
    """Check that a report's 64 bytes are what is bound and zeros. Raises EnvelopeError if they are not."""
    if found != bound.ljust(REPORT_DATA, b"\0"):
        raise EnvelopeError(f"the report's data are {found.hex()}, not those of this receipt")
