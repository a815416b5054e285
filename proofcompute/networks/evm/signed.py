"""Read signed verdicts: who signed what, for which contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, LimitError
from proofcompute.networks.evm.typed import (
    FIELDS,
    ORDER,
    WORD,
    Domain,
    address_of,
    curve,
    message,
    mixed,
    typed_data,
    typed_digest,
)
from proofcompute.networks.work import Work

__all__ = ["MAX_DOCUMENT", "Signed", "check", "read_signed", "signature_of", "signer_of"]

MAX_DOCUMENT: Final = 1 << 16
"""The most bytes of a signed document that is read."""


@dataclass(frozen=True)
class Signed:
    """A verdict, and who signed it."""

    verdict: Mapping[str, Json]
    """Its fields: digests as 0x and 64 digits, numbers as numbers."""
    signature: bytes
    """r, s and v, 65 bytes."""
    signer: bytes
    """The address whose key signed, 20 bytes."""


def read_signed(document: bytes, domain: Domain) -> Signed:
    """Read a verdict that somebody signed for a contract; who that is, and whether it is right, is open.

    Raises EnvelopeError if it is malformed, for another contract, or its signer is not the one that it names.
    """
    try:
        top = read_json(document, MAX_DOCUMENT)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the document is not JSON as it is read here: {e}") from e
    verdict = _fields(top.get("message"))
    expected = typed_data(verdict, domain)
    if set(top) != {*expected, "signer", "signature"}:
        raise EnvelopeError(
            f"a signed verdict has {', '.join(expected)}, signer, signature, and nothing else"
        )
    for name, value in expected.items():
        if not _same(top[name], value):
            raise EnvelopeError(f"the document's {name} is not that of a verdict for this contract")
    signature = signature_of(top["signature"])
    signer = signer_of(signature, typed_digest(verdict, domain))
    if top["signer"] != mixed(signer):
        raise EnvelopeError(f"the document was signed by {mixed(signer)}, not by the signer that it names")
    return Signed(verdict, signature, signer)


def check(document: bytes, work: Work, signer: str, domain: Domain) -> None:
    """Check that a document is the verdict of a bundle, for this domain, signed by this address.

    Raises EnvelopeError if it is malformed, says something else, or another key signed it.
    """
    found = read_signed(document, domain)
    if not _same(dict(found.verdict), message(work)):
        raise EnvelopeError("the document's message is not that of the evidence")
    if found.signer != address_of(signer):
        raise EnvelopeError(f"the document was signed by {mixed(found.signer)}, not by {signer}")


def _same(found: Json, expected: Json) -> bool:
    # Python takes True for 1, which JSON does not.
    return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def _fields(value: Json) -> dict[str, Json]:
    """Return the fields of a verdict if each has its type's form."""
    if not isinstance(value, dict) or set(value) != {name for name, _ in FIELDS}:
        raise EnvelopeError("the document's message is no verdict")
    for name, kind in FIELDS:
        field = value[name]
        if kind.startswith("uint"):
            fits = type(field) is int and 0 <= field < 1 << int(kind.removeprefix("uint"))
        else:
            fits = isinstance(field, str) and _is_word(field)
        if not fits:
            raise EnvelopeError(f"the document's message has no {kind} for {name}")
    return value


def _is_word(text: str) -> bool:
    try:
        return "0x" + bytes.fromhex(text[2:]).hex() == text and len(text) == 2 + 2 * WORD
    except ValueError:
        return False


def signature_of(value: Json) -> bytes:
    """Return r, s and v of a signature in text, which has one form: nobody can make a second one of it."""
    if not isinstance(value, str) or len(value) != 2 + 2 * 65 or not value.startswith("0x"):
        raise EnvelopeError("a signature is 0x and 130 hexadecimal digits")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        raise EnvelopeError("the signature is not hexadecimal") from None
    r, s, v = int.from_bytes(raw[:WORD]), int.from_bytes(raw[WORD:64]), raw[64]
    if value[2:] != raw.hex() or v not in (27, 28) or not 0 < r < ORDER or not 0 < s <= ORDER // 2:
        raise EnvelopeError("the signature is not canonical")
    return raw


def signer_of(raw: bytes, digest: bytes) -> bytes:
    """Return the address that signed a digest."""
    keys = curve()
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        public = keys.Signature(raw[:64] + bytes([raw[64] - 27])).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as e:
        raise EnvelopeError("the signature is none of any key") from e
    return bytes(public.to_canonical_address())
