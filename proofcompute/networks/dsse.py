"""Sign payloads in DSSE envelopes, and open those of others.

What is signed is an envelope's pre-authentication encoding, which begins with "DSSEv1" and is longer than 32
bytes; here a node's or an auditor's identity signs it. All else that an identity signs is a digest of 32
bytes, so neither stands for the other. ("DSSE: Dead Simple Signing Envelope", protocol version 1.)
"""

from __future__ import annotations

import base64
import json
from typing import Final

from proofcompute.commitments.signing import NodeIdentity, signature_holds
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, LimitError

__all__ = ["MEDIA_TYPE", "PAYLOAD", "STATEMENT", "encoded", "enveloped", "opened", "parts", "sealed"]

MEDIA_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
PAYLOAD: Final = "application/vnd.in-toto+json"
"""The type of the envelope's payload."""
STATEMENT: Final = "https://in-toto.io/Statement/v1"
"""The type of in-toto's statements (in-toto Attestation Framework, "Statement" version 1)."""
MAX_SIGNATURES: Final = 16
"""The most signatures of an envelope that is read."""


def encoded(payload: bytes) -> bytes:
    """Return the pre-authentication encoding of a payload, which is what is signed."""
    kind = PAYLOAD.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def enveloped(payload: bytes, signature: bytes, keyid: str) -> dict[str, Json]:
    """Return the envelope of a payload with one signature, as a value of JSON."""
    return {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }


def sealed(payload: bytes, identity: NodeIdentity) -> bytes:
    """Return the envelope of a payload, with one signature."""
    value = enveloped(payload, identity.sign(encoded(payload)), identity.public.hex())
    return json.dumps(value).encode() + b"\n"


def parts(envelope: Json) -> tuple[bytes, list[bytes]]:
    """Return payload and signatures of an envelope, of which nothing is checked yet.

    Raises EnvelopeError if it is malformed.
    """
    if not isinstance(envelope, dict) or set(envelope) != {"payloadType", "payload", "signatures"}:
        raise EnvelopeError("an envelope has payloadType, payload and signatures, and nothing else")
    if envelope["payloadType"] != PAYLOAD:
        raise EnvelopeError(f"the envelope's payload is not of type {PAYLOAD}")
    payload = _base64(envelope["payload"], "payload")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or not 0 < len(signatures) <= MAX_SIGNATURES:
        raise EnvelopeError(f"an envelope has 1 to {MAX_SIGNATURES} signatures")
    return payload, [_signature(each) for each in signatures]


def opened(envelope: bytes, signer: bytes, limit: int) -> bytes:
    """Return the payload of an envelope of at most ``limit`` bytes that a public key signed.

    Raises EnvelopeError if it is malformed, or this key did not sign it.
    """
    try:
        top = read_json(envelope, limit)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the envelope is not JSON as it is read here: {e}") from e
    payload, signatures = parts(top)
    # The key id is a hint that nothing protects, so every signature is tried.
    if not any(signature_holds(signer, encoded(payload), each) for each in signatures):
        raise EnvelopeError(f"the key {signer.hex()} did not sign the envelope")
    return payload


def _signature(value: Json) -> bytes:
    if not isinstance(value, dict) or not {"sig"} <= set(value) <= {"sig", "keyid"}:
        raise EnvelopeError("a signature of an envelope has sig, and keyid perhaps")
    return _base64(value["sig"], "signature")


def _base64(value: Json, what: str) -> bytes:
    if not isinstance(value, str):
        raise EnvelopeError(f"the {what} of an envelope is text in base64")
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError:
        raise EnvelopeError(f"the {what} of the envelope is not base64") from None
    if base64.b64encode(data).decode() != value:
        raise EnvelopeError(f"the {what} of the envelope is not canonical base64")
    return data
