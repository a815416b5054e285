"""Say what an auditor found in an in-toto statement, signed in a DSSE envelope.

The subject of the statement is the file of a bundle of evidence; the predicate says what is in it, so that
who reads attestations can act on a verdict without knowing bundles. Numbers are text, because readers of
JSON disagree about large ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.adapter import Description, Document
from proofcompute.networks.dsse import MEDIA_TYPE, STATEMENT, opened, sealed
from proofcompute.networks.work import Work

__all__ = ["ADAPTER", "PREDICATE", "InToto", "check", "statement", "wrap"]

PREDICATE: Final = "urn:proofcompute:verdict:1"
"""The type of the predicate, which is our own."""
MAX_ENVELOPE: Final = 1 << 16
"""The most bytes of an envelope that is read."""


def statement(work: Work) -> dict[str, Json]:
    """Return the statement about a bundle of evidence."""
    outcome, cell = work.outcome, work.outcome.cell
    return {
        "_type": STATEMENT,
        "subject": [{"name": "evidence", "digest": {"sha256": work.bundle_sha256.hex()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "outcome": outcome.kind,
            "step": str(outcome.step),
            "cell": None if cell is None else [str(n) for n in cell],
            "operation": outcome.operation,
            "modelId": work.model_id.hex(),
            "requestDigest": work.request_digest.hex(),
            "receiptDigest": work.receipt_digest.hex(),
            "rows": str(work.rows),
            "node": work.node.hex(),
            "auditor": work.auditor.hex(),
            "evidenceBytes": str(work.bundle_size),
            "made": datetime.fromtimestamp(work.made / 1000, UTC).isoformat(timespec="milliseconds"),
        },
    }


def _payload(work: Work) -> bytes:
    try:
        value = statement(work)
    except (OverflowError, ValueError) as e:
        raise InputError(f"the evidence was signed at {work.made} ms, which is no date") from e
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def wrap(work: Work, identity: NodeIdentity) -> Document:
    """Return the envelope of a verdict.

    Raises InputError unless the identity is that of the auditor who signed the bundle, or if its time is no
    date.
    """
    if identity.public != work.auditor:
        raise InputError("the evidence was signed by another auditor; give the identity that signed it")
    return Document(MEDIA_TYPE, sealed(_payload(work), identity), ".intoto.json", "ours")


def check(envelope: bytes, work: Work, auditor: bytes | None = None) -> None:
    """Check that an envelope says what a bundle of evidence says, signed by its auditor.

    ``auditor`` is the key that the caller trusts; without one, it is that of the bundle, and the caller has
    to know whose it is. Whether the evidence is right is for a judge of the bundle.

    Raises EnvelopeError if the envelope is malformed, unsigned by the auditor, or says something else.
    """
    if auditor is not None and auditor != work.auditor:
        raise EnvelopeError(f"the evidence is by the auditor {work.auditor.hex()}, not {auditor.hex()}")
    payload = opened(envelope, work.auditor, MAX_ENVELOPE)
    if payload != _payload(work):
        raise EnvelopeError(
            f"the envelope says something else than the evidence: {_difference(payload, work)}"
        )


def _difference(payload: bytes, work: Work) -> str:
    """Return in words where a signed payload differs from what the bundle says."""
    try:
        found = read_json(payload, MAX_ENVELOPE)
    except (FormatError, LimitError):
        return "its payload is no statement"
    expected = statement(work)
    wanted, given = expected["predicate"], found.get("predicate")
    differing = [name for name in expected if found.get(name) != expected[name]]
    if isinstance(wanted, dict) and isinstance(given, dict):
        differing += [name for name in wanted if given.get(name) != wanted[name]]
    return ", ".join(differing) or "its form is another"


@dataclass(frozen=True)
class InToto:
    """Puts verdicts into the envelopes that supply-chain tools read."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="in-toto",
            title="in-toto and DSSE",
            adopter="whoever gates deployments or payments on attestations",
            offers=("a signed statement about a bundle of evidence, and a command that checks it",),
            interface="ours",
            judged_by=("securesystemslib", "in-toto-attestation"),
        )


ADAPTER = InToto()
