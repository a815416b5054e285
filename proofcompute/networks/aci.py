"""Carry verdicts in receipts of attested gateways, and check them there.

A gateway of Attested Confidential Inference (ACI) runs in an enclave and signs, for each request, a log of
events: which bytes came in, were forwarded and were returned. It says nothing about whether the answer is the
model's. Services may add events of their own types, and that is where a verdict goes: the type is our own.

A receipt is JSON. What is signed is its canonical form (JCS, RFC 8785) without the signature, by Ed25519
under a key of the gateway's keyset, which the attestation names by its digest. (ACI specification, version
aci/1, sections 3.1 and 7.) The checks:

1. the keyset is the one whose digest the caller knows from the attestation, and it has not ended;
2. the receipt has its form, names that keyset, and one of its Ed25519 keys signed it;
3. its log begins with what was received and has what was returned; bodies that the caller has are those;
4. one event carries a verdict, and it is that of the bundle of evidence.

Whether the attestation holds is for :mod:`proofcompute.networks.clouds.quotes` or a verifier of the gateway's
maker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from proofcompute.commitments.signing import signature_holds
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking
from proofcompute.networks.adapter import Description, Document
from proofcompute.networks.work import Work

__all__ = ["ADAPTER", "EVENT", "Aci", "canonical", "check", "check_receipt", "event", "keyset_digest"]

EVENT: Final = "proofcompute.verdict.v1"
"""The type of the event that carries a verdict."""
VERSION: Final = "aci/1"
MAX_RECEIPT: Final = 1 << 18
MAX_KEYSET: Final = 1 << 16
MAX_EVENTS: Final = 256
_FIELDS: Final = frozenset(
    ("api_version", "receipt_id", "chat_id", "model", "workload_keyset_digest", "endpoint", "method",
     "served_at", "event_log", "key_id", "signature")
)  # fmt: skip
_RECEIVED: Final = "request.received"
_RETURNED: Final = "response.returned"


def canonical(value: Json) -> bytes:
    """Return the canonical form of a value (RFC 8785). Raises EnvelopeError if it has none."""
    try:
        library: Any = import_module("rfc8785")
    except ModuleNotFoundError as e:
        raise lacking(e, "receipts of attested gateways") from e
    try:
        return bytes(library.dumps(value))
    except library.CanonicalizationError as e:
        raise EnvelopeError(f"the document has no canonical form: {e}") from e


def _read(data: bytes, limit: int, what: str) -> dict[str, Json]:
    try:
        return read_json(data, limit)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the {what} is no JSON as it is read here: {e}") from e


def _hash(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def keyset_digest(keyset: bytes) -> str:
    """Return the digest by which an attestation names a keyset: ``sha256:`` and 64 digits."""
    return _hash(canonical(_read(keyset, MAX_KEYSET, "keyset")))


def event(work: Work) -> Document:
    """Return the event that a gateway puts into its receipt's log, before what was returned."""
    return Document("application/json", json.dumps(_event(work)).encode() + b"\n", ".event.json", "ours")


def _event(work: Work) -> dict[str, Json]:
    return {
        "type": EVENT,
        "outcome": work.outcome.kind,
        "step": str(work.outcome.step),
        "receipt": work.receipt_digest.hex(),
        "request": work.request_digest.hex(),
        "model": work.model_id.hex(),
        "node": work.node.hex(),
        "auditor": work.auditor.hex(),
        "evidence": "sha256:" + work.bundle_sha256.hex(),
        "rows": str(work.rows),
        "made": str(work.made),
    }


def check_receipt(
    data: bytes,
    keyset: bytes,
    digest: str,
    *,
    now: int,
    request: bytes | None = None,
    response: bytes | None = None,
) -> list[Mapping[str, Json]]:
    """Check a gateway's receipt, and return the events of its log in their order.

    Args:
        data: the receipt, in any encoding.
        keyset: the gateway's keyset, in any encoding.
        digest: what the attestation says about the keyset.
        now: seconds since the Unix epoch, for the end of the keyset.
        request: the body that was sent, if it is to be compared.
        response: the body that came, byte for byte, if it is to be compared.

    Raises EnvelopeError if anything does not hold.
    """
    # 1.
    if keyset_digest(keyset) != digest:
        raise EnvelopeError("the keyset is not the one that was attested")
    keys = _read(keyset, MAX_KEYSET, "keyset")
    end = keys.get("not_after")
    if type(end) is not int or now > end:
        raise EnvelopeError("the keyset has ended, or does not say when it ends")
    # 2.
    top = _read(data, MAX_RECEIPT, "receipt")
    if set(top) != _FIELDS or top["api_version"] != VERSION:
        raise EnvelopeError(f"the receipt is none of {VERSION}")
    if top["workload_keyset_digest"] != digest:
        raise EnvelopeError("the receipt names another keyset")
    signed = canonical({name: value for name, value in top.items() if name != "signature"})
    if not signature_holds(_key(keys, top["key_id"]), signed, _bytes(top["signature"], 64)):
        raise EnvelopeError("the gateway's key did not sign the receipt")
    # 3.
    log = top["event_log"]
    if not isinstance(log, list) or not 0 < len(log) <= MAX_EVENTS:
        raise EnvelopeError("the receipt has no log of events")
    events: list[Mapping[str, Json]] = []
    for each in log:
        if not isinstance(each, dict) or not isinstance(each.get("type"), str):
            raise EnvelopeError("an event of the log is none")
        events.append(each)
    if events[0]["type"] != _RECEIVED:
        raise EnvelopeError("the log does not begin with what was received")
    for kind, body in ((_RECEIVED, request), (_RETURNED, response)):
        found = [each for each in events if each["type"] == kind]
        if len(found) != 1:
            raise EnvelopeError(f"the log has {len(found)} events {kind}, and one is needed")
        if body is not None and found[0].get("body_hash") != _hash(body):
            raise EnvelopeError(f"the log's {kind} is about another body")
    return events


def _key(keyset: Mapping[str, Json], name: Json) -> bytes:
    """Return the Ed25519 key of a keyset by its identifier."""
    listed = keyset.get("receipt_signing_keys")
    found = [
        each
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("key_id") == name and each.get("algo") == "ed25519"
    ]
    if len(found) != 1:
        raise EnvelopeError("the keyset has no Ed25519 key, or several, by the receipt's identifier")
    return _bytes(found[0].get("public_key"), 32)


def _bytes(value: Json, length: int) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != length or data.hex() != value:
        raise EnvelopeError(f"a key or a signature is {2 * length} hexadecimal digits")
    return data


def check(
    data: bytes,
    work: Work,
    keyset: bytes,
    digest: str,
    *,
    now: int,
    request: bytes | None = None,
    response: bytes | None = None,
) -> None:
    """Check that a gateway's receipt carries the verdict of a bundle of evidence.

    Arguments are as of :func:`check_receipt`. Raises EnvelopeError if the receipt does not hold, carries no
    verdict or several, or another one.
    """
    events = check_receipt(data, keyset, digest, now=now, request=request, response=response)
    # 4.
    carried = [each for each in events if each["type"] == EVENT]
    if len(carried) != 1:
        raise EnvelopeError(f"the receipt carries {len(carried)} verdicts, and one is needed")
    # Python takes True for 1, which JSON does not; all fields are texts.
    if carried[0] != _event(work):
        raise EnvelopeError("the receipt carries another verdict than the bundle has")


def keyset_of(name: str) -> str:
    """Return the digest of a keyset as attestations write it. Raises InputError if it is none."""
    digits = name.removeprefix("sha256:")
    try:
        if name.startswith("sha256:") and len(digits) == 64 and bytes.fromhex(digits).hex() == digits:
            return name
    except ValueError:
        pass
    raise InputError("a keyset's digest is sha256: and 64 hexadecimal digits")


@dataclass(frozen=True)
class Aci:
    """Carries verdicts in receipts of attested gateways."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="aci",
            title="Attested Confidential Inference",
            adopter="gateways in enclaves that sign receipts, and their clients",
            offers=(
                "a verdict as an event of a receipt, whose type is our own",
                "receipts of gateways, checked with the verdict that they carry",
            ),
            interface="theirs",
            judged_by=("the test vectors of the ACI specification", "rfc8785"),
        )


ADAPTER = Aci()
