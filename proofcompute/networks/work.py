"""Read what an auditor says about a node's work, as adapters of networks need it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofcompute.errors import EvidenceError, FormatError, LimitError, UnsupportedError
from proofcompute.limits import MIB
from proofcompute.protocol.bundle import Bundle, open_bundle
from proofcompute.protocol.messages import Outcome, Receipt

__all__ = ["Work", "file_digest"]

_PIECE: Final = MIB
"""Bytes of a file that are hashed at once."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One receipt and what an auditor says about it.

    It is the auditor's word, which its signature binds. A judge decides again from the bundle
    (docs/spec/evidence.md#verifying-a-bundle).
    """

    bundle_sha256: bytes
    """SHA-256 of the file that holds the bundle of evidence, 32 bytes."""
    bundle_size: int
    """Bytes of that file."""
    request_digest: bytes
    """Digest of the request, 32 bytes."""
    receipt_digest: bytes
    """Digest of the receipt, 32 bytes."""
    model_id: bytes
    """The model that the receipt names, 32 bytes."""
    node: bytes
    """Ed25519 public key that the receipt names, 32 bytes."""
    rows: int
    """Rows of the trace: tokens of prompt and answer, or samples."""
    tokens: int
    """Tokens that were generated; 0 for a program that does not generate."""
    outcome: Outcome
    """What the auditor found."""
    auditor: bytes
    """Ed25519 public key of the auditor, 32 bytes."""
    made: int
    """When the auditor signed, in milliseconds since the Unix epoch by its clock."""

    @staticmethod
    def of(path: Path) -> Work:
        """Read a bundle of evidence from a file; the auditor's signature is checked, and nothing else.

        Raises EvidenceError if the file holds no bundle, its auditor did not sign it, or its receipt does not
        decode, InputError if it cannot be read.
        """
        try:
            with open_bundle(path) as bundle:
                bundle.check()
                receipt = _receipt(bundle)
                evidence = bundle.evidence
                digest, size = file_digest(path)
        except (FormatError, LimitError, UnsupportedError) as e:
            raise EvidenceError(str(e)) from e
        return Work(
            bundle_sha256=digest,
            bundle_size=size,
            request_digest=evidence.request_digest,
            receipt_digest=receipt.digest,
            model_id=receipt.model_id,
            node=receipt.node,
            rows=receipt.rows,
            tokens=receipt.tokens,
            outcome=evidence.outcome,
            auditor=evidence.auditor,
            made=evidence.made,
        )


def _receipt(bundle: Bundle) -> Receipt:
    receipt = Receipt.decode(bundle.evidence.receipt)
    if receipt.request_digest != bundle.evidence.request_digest:
        raise EvidenceError("the receipt is about another request than the evidence")
    if receipt.pipeline is not None:
        raise EvidenceError("the receipt is for one stage of a pipeline, and no whole run")
    return receipt


def file_digest(path: Path) -> tuple[bytes, int]:
    """Return SHA-256 and size of a file, which is read in pieces."""
    state, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            state.update(piece)
            size += len(piece)
    return state.digest(), size
