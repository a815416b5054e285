"""The command ``replay``, for a verifier that holds the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Json
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
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check a receipt by computing the whole answer again; this needs nothing more from the node.

    Exit status 0: it holds; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.cli.verdicts import accept, reject
    from proofcompute.cli.verifying import Verifier

    start, out = time.perf_counter(), Output(json)
    check_outputs(outputs)
    expect(model, "model")
    verifier = Verifier.of(model, device, node, tokens_only=tokens_only, terms=terms)
    try:
        found = verifier.replay(request, receipt)
    except VerificationError as e:
        reject(out, e, verifier, time.perf_counter() - start)
        raise typer.Exit(1) from e
    write_outputs(outputs, found.outputs)
    accept(out, found, verifier, time.perf_counter() - start)
