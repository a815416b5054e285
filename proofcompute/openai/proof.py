"""Define the field of a response that carries receipts (docs/spec/openai.md#the-proof-field)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date as Date  # "date" is a field's name here
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError, VerificationError
from proofcompute.limits import MAX_CHOICES, MAX_RECEIPT
from proofcompute.openai.sent import sent_int, sent_list, sent_text

__all__ = [
    "FIELD",
    "NONCE_HEADER",
    "RECEIPT_HEADER",
    "RECEIPT_ID_HEADER",
    "NonceBy",
    "ProofField",
    "check_proofs",
    "decode_proofs",
    "encode_proofs",
    "nonce_of_header",
]

FIELD: Final = "proofcompute"
"""Name of the field in responses and chunks."""
NONCE_HEADER: Final = "Proofcompute-Nonce"
"""Header of a call with the client's nonce, 64 lower-case hexadecimal digits."""
RECEIPT_HEADER: Final = "Proofcompute-Receipt"
"""Header of a response that is not a stream, with the receipt of choice 0 in base64."""
RECEIPT_ID_HEADER: Final = "X-Receipt-Id"
"""Header of such a response with the digest of that receipt, in hexadecimal digits."""

VERSION: Final = 1
DAYS: Final = timedelta(days=1)
"""How far a node's date may be from the client's."""
_MAX_PATH: Final = 256
_HEX: Final = re.compile("[0-9a-f]{64}")
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
"""A path without empty and dotted segments, so that it stays on the node that was asked."""

NonceBy: TypeAlias = Literal["client", "node"]
"""Who drew the nonce."""


@dataclass(frozen=True, kw_only=True)
class ProofField:
    """What a response says about one choice: the receipt, and all that its request depends on."""

    choice: int
    """Number of the choice."""
    receipt: bytes
    """The receipt, exactly as the node signed it."""
    nonce: bytes
    """The nonce of the request, 32 bytes."""
    nonce_by: NonceBy
    """Who drew the nonce. A node that draws it also draws the seed, where the body has none."""
    model_id: bytes
    """The model that answered, 32 bytes."""
    node: bytes
    """Public key of the node, which the request addresses and which signed the receipt, 32 bytes."""
    date: Date
    """The day that the chat template saw as today."""
    open: str
    """Path of the service that opens cells, from the root of the node's address."""

    def encode(self) -> dict[str, Json]:
        """Return the object of a stream's chunk, or of a response with one choice."""
        return {"v": VERSION, "choice": self.choice, "receipt": _base64(self.receipt), **self._shared()}

    def _shared(self) -> dict[str, Json]:
        return {
            "nonce": self.nonce.hex(),
            "nonce_by": self.nonce_by,
            "model_id": self.model_id.hex(),
            "node": self.node.hex(),
            "date": self.date.isoformat(),
            "open": self.open,
        }

    @staticmethod
    def decode(value: Json) -> ProofField:
        """Decode what a node sent; VerificationError (step 1) unless it is an object that encode makes."""
        fields = _fields(value, "choice", "receipt")
        choice = sent_int(fields["choice"], "proofcompute.choice", 0, MAX_CHOICES - 1)
        return _decoded(fields, choice, _receipt(fields["receipt"], "proofcompute.receipt"))


def encode_proofs(proofs: Sequence[ProofField]) -> dict[str, Json]:
    """Return the field of a response that is not a stream: with more than one choice, it has ``receipts``.

    Raises InputError unless the choices are 0, 1, ... and differ in nothing but their receipts.
    """
    if not proofs or any(p != replace(proofs[0], choice=i, receipt=p.receipt) for i, p in enumerate(proofs)):
        raise InputError("the receipts of a response are those of its choices, in their order")
    if len(proofs) == 1:
        return proofs[0].encode()
    return {"v": VERSION, "receipts": [_base64(p.receipt) for p in proofs], **proofs[0]._shared()}


def decode_proofs(value: Json, n: int) -> tuple[ProofField, ...]:
    """Decode the field of a response with ``n`` choices that is not a stream.

    Raises VerificationError (step 1) unless it is an object that :func:`encode_proofs` makes of n receipts.
    """
    if n == 1:
        return (ProofField.decode(value),)
    fields = _fields(value, "receipts")
    receipts = sent_list(fields["receipts"], "proofcompute.receipts", _receipt, MAX_CHOICES)
    if len(receipts) != n:
        raise VerificationError(
            1, "response: another number of receipts than choices", expected=n, found=len(receipts)
        )
    return tuple(_decoded(fields, i, receipt) for i, receipt in enumerate(receipts))


def check_proofs(
    proofs: Sequence[ProofField],
    *,
    model_id: bytes,
    nonce: bytes | None,
    today: Date,
    node: bytes | None = None,
) -> None:
    """Check the fields of all choices of one response against what the client knows.

    Args:
        proofs: of choices 0, 1, ..., at least one.
        model_id: the model that the client trusts.
        nonce: the nonce that the client sent; None: it sent none, so the node drew it.
        today: the current day in UTC, by the client's clock.
        node: public key of the node that must answer; None: any.

    Raises VerificationError if the model is another one (step 3), the node is another one (step 2), the nonce
    is not the client's or is not said to be, the date is more than a day off, or a choice differs from the
    first one (step 4). Requests are derived from what passed this check only.
    """
    first = proofs[0]
    if node is not None and first.node != node:
        raise VerificationError(2, "answered by another node", expected=node.hex(), found=first.node.hex())
    if first.model_id != model_id:
        raise VerificationError(3, "another model", expected=model_id.hex(), found=first.model_id.hex())
    by: NonceBy = "node" if nonce is None else "client"
    if first.nonce_by != by:
        raise VerificationError(4, "a nonce by somebody else", expected=by, found=first.nonce_by)
    if nonce is not None and first.nonce != nonce:
        raise VerificationError(4, "another nonce", expected=nonce.hex(), found=first.nonce.hex())
    if abs(first.date - today) > DAYS:
        raise VerificationError(4, "a date that is not today", expected=today, found=first.date)
    for i, proof in enumerate(proofs):
        if proof != replace(first, choice=i, receipt=proof.receipt):
            raise VerificationError(4, f"choice {i} says something else than choice 0")


def nonce_of_header(value: str) -> bytes:
    """Return the nonce in a call's header; InputError unless it has 64 lower-case hexadecimal digits."""
    if not _HEX.fullmatch(value):
        raise InputError(f"{NONCE_HEADER} must have 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


# -- reading -------------------------------------------------------------------------------------------------
def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _fields(value: Json, *own: str) -> dict[str, Json]:
    """The fields of the object, which are exactly those of its form."""
    wanted = {"v", "nonce", "nonce_by", "model_id", "node", "date", "open", *own}
    if not isinstance(value, dict):
        raise VerificationError(1, "response: proofcompute is not an object")
    if value.keys() != wanted:
        name = sorted(value.keys() ^ wanted)[0]
        raise VerificationError(
            1, f"response: proofcompute lacks {name[:64]!r}, or has it without being known"
        )
    sent_int(value["v"], "proofcompute.v", VERSION, VERSION)
    return value


def _decoded(fields: dict[str, Json], choice: int, receipt: bytes) -> ProofField:
    by = sent_text(fields["nonce_by"], "proofcompute.nonce_by")
    if by not in ("client", "node"):
        raise VerificationError(1, "response: proofcompute.nonce_by is neither client nor node")
    path = sent_text(fields["open"], "proofcompute.open")
    if len(path) > _MAX_PATH or not _PATH.fullmatch(path):
        raise VerificationError(1, "response: proofcompute.open is not a path on the node")
    return ProofField(
        choice=choice,
        receipt=receipt,
        nonce=_hex(fields["nonce"], "proofcompute.nonce"),
        nonce_by="client" if by == "client" else "node",
        model_id=_hex(fields["model_id"], "proofcompute.model_id"),
        node=_hex(fields["node"], "proofcompute.node"),
        date=_date(fields["date"]),
        open=path,
    )


def _hex(value: Json, what: str) -> bytes:
    text = sent_text(value, what)
    if not _HEX.fullmatch(text):
        raise VerificationError(1, f"response: {what} does not have 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def _date(value: Json) -> Date:
    text = sent_text(value, "proofcompute.date")
    try:
        found = Date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise VerificationError(1, "response: proofcompute.date is not a day in the form 2026-01-31")
    return found


def _receipt(value: Json, what: str) -> bytes:
    text = sent_text(value, what)
    if len(text) > 4 * (MAX_RECEIPT // 3 + 1):
        raise VerificationError(1, f"response: {what} is longer than a receipt can be")
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        found = b""
    if not found or _base64(found) != text:
        raise VerificationError(1, f"response: {what} is not in canonical base64")
    return found
