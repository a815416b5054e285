"""The command ``replay``, for a verifier that holds the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceOut, Identity, Recorder, Undisclosed
from proofcompute.cli.console import Output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json
from proofcompute.cli.outputs import Outputs, check_outputs, write_outputs
from proofcompute.cli.verify_commands import ReceiptFile, RequestFile, Signer, TermsFile, TokensOnly
from proofcompute.errors import VerificationError

__all__ = ["replay"]


def replay(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)],
    receipt: ReceiptFile,
    request: RequestFile,
    node: Signer = None,
    terms: TermsFile = None,
    tokens_only: TokensOnly = False,
    outputs: Outputs = None,
    evidence: EvidenceOut = None,
    identity: Identity = None,
    undisclosed: Undisclosed = False,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check a receipt by computing the whole answer again; this needs nothing more from the node.

    With --evidence, what came of it is also written as a bundle that others can judge (verify-evidence).

    Exit status 0: it holds; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.cli.verdicts import accept, reject
    from proofcompute.cli.verifying import Verifier

    start, out = time.perf_counter(), Output(json)
    check_outputs(outputs)
    expect(model, "model")
    files = (request, receipt)
    recorder = Recorder.of(evidence, identity, undisclosed=undisclosed, force=force, sources=files)
    verifier = Verifier.of(model, device, node, tokens_only=tokens_only, terms=terms)
    check_outputs(outputs, verifier.holds.card.program)
    try:
        found = verifier.replay(request, receipt)
    except VerificationError as e:
        if recorder is not None:
            recorder.record(out, verifier.auditor, e, *files)
        reject(out, e, verifier, time.perf_counter() - start)
        raise typer.Exit(1) from e
    if recorder is not None:
        recorder.record(out, verifier.auditor, found.evidence, *files)
    write_outputs(outputs, found.outputs)
    accept(out, found, verifier, time.perf_counter() - start)
