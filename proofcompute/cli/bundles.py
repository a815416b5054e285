"""Bundles of evidence on the command line: the options that make one, and what is shown of one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain, size
from proofcompute.cli.files import check_output, read_challenge, read_receipt, read_request
from proofcompute.cli.kinds import expect
from proofcompute.encoding.files import require_plain
from proofcompute.errors import InputError, ProofcomputeError, VerificationError

if TYPE_CHECKING:
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.protocol.messages import Outcome
    from proofcompute.verifier.auditor import Auditor
    from proofcompute.verifier.findings import EvidenceVerdict
    from proofcompute.verifier.result import Verified

__all__ = [
    "EvidenceFile",
    "EvidenceOut",
    "Identity",
    "Recorder",
    "Undisclosed",
    "bundle_facts",
    "moment",
    "verdict_fields",
]

EvidenceFile = Annotated[
    Path, typer.Argument(metavar="EVIDENCE", help="A bundle of evidence.", show_default=False)
]
EvidenceOut = Annotated[
    Path | None,
    typer.Option("--evidence", metavar="FILE", help="Also write what came of it as a bundle of evidence."),
]
Identity = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="Your key pair, which signs the evidence."),
]
Undisclosed = Annotated[
    bool,
    typer.Option("--undisclosed", help="Leave the request out of the evidence; its digest stays."),
]


@dataclass(frozen=True)
class Recorder:
    """Writes what a verification came to as a bundle of evidence."""

    path: Path
    identity: NodeIdentity
    disclose: bool

    @staticmethod
    def of(
        path: Path | None, identity: Path | None, *, undisclosed: bool, force: bool, sources: tuple[Path, ...]
    ) -> Recorder | None:
        """Check the options before any long work; return None if no evidence is wanted.

        ``sources`` are read once more for the evidence, so they must be plain files. Raises InputError if an
        option lacks another, or the file may not be written.
        """
        from proofcompute.commitments.signing import NodeIdentity

        if path is None:
            if identity is not None or undisclosed or force:
                raise InputError("--identity, --undisclosed and --force are about --evidence FILE")
            return None
        if identity is None:
            raise InputError("evidence is signed by whoever makes it: give your key pair with --identity")
        check_output(path, force=force)
        for source in sources:
            require_plain(source, "file")
        expect(identity, "identity")
        return Recorder(path, NodeIdentity.load(identity), not undisclosed)

    def record(
        self,
        out: Output,
        auditor: Auditor,
        found: Verified | VerificationError,
        request: Path,
        receipt: Path,
        challenge: Path | None = None,
        opening: Path | None = None,
        waited: float | None = None,
    ) -> None:
        """Write the bundle. If that fails after a rejection, it is reported, and the rejection stands."""
        try:
            asked = read_request(request)
            with ExitStack() as stack:
                stream = BytesIO() if opening is None else stack.enter_context(opening.open("rb"))
                bundle = auditor.evidence(
                    self.identity,
                    asked,
                    read_receipt(receipt, asked),
                    found,
                    challenge=None if challenge is None else read_challenge(challenge),
                    opening=stream,
                    waited=waited,
                    disclose=self.disclose,
                )
                bundle.save(self.path)
        except ProofcomputeError as e:
            if not isinstance(found, VerificationError):
                raise
            complain(f"no evidence was written: {e}")
        else:
            out.say(f"{self.path}: evidence, signed by {self.identity.public.hex()}")


def bundle_facts(path: Path) -> dict[str, object]:
    """Return what a bundle says, for ``inspect``; nothing but the auditor's signature is checked."""
    from proofcompute.commitments.signing import signature_holds
    from proofcompute.protocol.bundle import open_bundle

    with open_bundle(path) as bundle:
        evidence, verdict = bundle.evidence, bundle.verdict
    return {
        "outcome": str(evidence.outcome),
        "request_digest": evidence.request_digest.hex(),
        "request_disclosed": bool(evidence.request),
        "receipt": size(len(evidence.receipt)),
        "terms": bool(evidence.terms),
        "challenge": bool(evidence.challenge),
        "sent": moment(evidence.sent),
        "waited_seconds": evidence.waited / 1000,
        "opening_bytes": evidence.opening_size,
        "made": moment(evidence.made),
        "scheme": evidence.scheme,
        "auditor": evidence.auditor.hex(),
        "signature_holds": signature_holds(evidence.auditor, evidence.signed_digest, evidence.signature),
        "verdict": _verdict(verdict) if verdict else None,
        "file_bytes": path.stat().st_size,
    }


def _verdict(data: bytes) -> str:
    from proofcompute.verdicts.messages import QuorumVerdict

    found = QuorumVerdict.decode(data)
    return f"{found.statement.outcome}, of {len(found.signers)} signers"


def moment(milliseconds: int) -> str:
    """Return a time as people read it; it is the auditor's word."""
    if not milliseconds:
        return "not said"
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        return f"{milliseconds} ms after the Unix epoch"


def verdict_fields(verdict: EvidenceVerdict) -> dict[str, object]:
    """Return the JSON fields of a verdict."""
    found = verdict.verified
    return {
        "finding": verdict.finding.value,
        "stands": verdict.stands,
        "reason": verdict.reason,
        "claimed": _outcome(verdict.claimed),
        "contradiction": None if verdict.contradiction is None else _outcome(verdict.contradiction),
        "as_claimed": verdict.as_claimed,
        "auditor": verdict.auditor.hex(),
        "node": None if verdict.node is None else verdict.node.hex(),
        "request_digest": verdict.request_digest.hex(),
        "receipt_digest": None if verdict.receipt_digest is None else verdict.receipt_digest.hex(),
        "cells": 0 if found is None else found.cells,
        "total_cells": None if found is None else found.total,
        "soundness_bits": 0.0 if found is None else found.soundness_bits,
        "replayed": verdict.replayed,
        "checked": list(verdict.checked),
        "unchecked": list(verdict.unchecked),
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "outcome": outcome.kind,
        "step": outcome.step or None,
        "cell": None if outcome.cell is None else list(outcome.cell),
        "operation": outcome.operation or None,
    }
