"""Commands of a verifier: ``challenge``, ``verify``, ``verify-many``, ``verify-public``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceOut, Identity, Recorder, Undisclosed
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output, read_receipt, read_request
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import (
    Device,
    Force,
    Grinding,
    Json,
    Out,
    PolicyFile,
    Runs,
    hex_bytes,
    what_is_checked,
)
from proofcompute.cli.outputs import Outputs, check_outputs, write_outputs
from proofcompute.encoding.files import require_plain
from proofcompute.errors import InputError, VerificationError
from proofcompute.freivalds.soundness import GRINDING_BITS

__all__ = ["challenge", "verify", "verify_many", "verify_public"]

CELLS = 16
"""Number of cells of a challenge by default."""

ReceiptFile = Annotated[
    Path, typer.Argument(metavar="RECEIPT", help="The node's receipt.", show_default=False)
]
OpeningFile = Annotated[
    Path, typer.Argument(metavar="OPENING", help="The node's opening.", show_default=False)
]
KeyFile = Annotated[
    Path, typer.Argument(metavar="KEY", help="Verifier's key, or the model file.", show_default=False)
]
RequestFile = Annotated[Path, typer.Option("--request", help="Your request.", show_default=False)]
TermsFile = Annotated[
    Path | None,
    typer.Option("--terms", metavar="TERMS", help="The node's signed terms; the receipt must name them."),
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--patience", min=0, metavar="SECONDS", help="The longest wait for an opening; 600 unless given."
    ),
]
Signer = Annotated[
    str | None,
    typer.Option("--node", metavar="PUBKEY", help="Public key (hex) of the node that must have signed."),
]

TokensOnly = Annotated[
    bool,
    typer.Option("--tokens-only", help="Ignore the request's text: do not check it against the tokens."),
]


def challenge(
    key: KeyFile,
    receipt: ReceiptFile,
    output: Out,
    request: RequestFile,
    node: Signer = None,
    cells: Annotated[int | None, typer.Option(help=f"Number of cells to draw; {CELLS} unless given.")] = None,
    runs: Runs = None,
    all_: Annotated[bool, typer.Option("--all", help="Choose every cell: a full audit.")] = False,
    policy: PolicyFile = None,
    seed: Annotated[
        str | None, typer.Option(help="Draw the cells from this seed (hex); for tests only.")
    ] = None,
    retention: Annotated[
        int, typer.Option(min=0, help="Reject a receipt whose trace is kept for fewer seconds.")
    ] = 0,
    terms: TermsFile = None,
    patience: Patience = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Check a receipt, and choose the cells that the node must open.

    If a policy draws nothing, no challenge is written: this answer is spared.

    Exit status 0: the receipt holds so far; 1: it is rejected; 2: your own files cannot be used.
    """
    check_output(output, force=force)
    if seed is not None and (all_ or policy is not None):
        raise InputError("--seed draws --cells and --runs; give it without --all and --policy")
    checks = what_is_checked(policy, runs, cells, CELLS, every=all_)
    from proofcompute.cli.verifying import Verifier
    from proofcompute.encoding.files import write_atomic
    from proofcompute.verifier.policy import AuditPolicy

    asked = read_request(request)
    auditor = Verifier.of(key, "numpy", node, terms=terms, retention=retention, patience=patience).auditor
    data = read_receipt(receipt, asked)
    claim, out = auditor.claim(asked, data), Output(json)
    chosen = checks.choose() if isinstance(checks, AuditPolicy) else checks  # the receipt is here by now
    if chosen is None:
        out.say("the policy draws nothing of this answer: no challenge is written")
        out.result({"challenge": None, "cells": 0, "receipt_digest": claim.receipt.digest.hex()})
        return
    made = auditor.challenge(asked, data, chosen, seed=None if seed is None else _seed(seed))
    write_atomic(output, made.encode())
    count, total = sum(c.b - c.a for c in made.cells), claim.statement.cells
    deadline = auditor.deadline(claim)
    out.say(f"{output}: {count} of {total} cells, to be opened within {deadline:.1f} s")
    out.result(
        {
            "challenge": str(output),
            "cells": count,
            "total_cells": total,
            "receipt_digest": claim.receipt.digest.hex(),
            "deadline_seconds": deadline,
        }
    )


def verify(
    key: KeyFile,
    receipt: ReceiptFile,
    challenge: Annotated[
        Path, typer.Argument(metavar="CHALLENGE", help="Your challenge.", show_default=False)
    ],
    opening: OpeningFile,
    request: RequestFile,
    node: Signer = None,
    terms: TermsFile = None,
    waited: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Seconds from the challenge until the opening came."),
    ] = None,
    patience: Patience = None,
    outputs: Outputs = None,
    evidence: EvidenceOut = None,
    identity: Identity = None,
    undisclosed: Undisclosed = False,
    force: Force = False,
    tokens_only: TokensOnly = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a receipt and its opened cells.

    With --evidence, what came of it is also written as a bundle that others can judge (verify-evidence).

    Exit status 0: they hold; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.cli.verdicts import accept, reject
    from proofcompute.cli.verifying import Verifier

    start, out = time.perf_counter(), Output(json)
    check_outputs(outputs)
    files = (request, receipt, challenge, opening)
    recorder = Recorder.of(evidence, identity, undisclosed=undisclosed, force=force, sources=files)
    if recorder is not None and waited is None:
        raise InputError("evidence says how many seconds the opening took: give --waited")
    verifier = Verifier.of(key, device, node, terms=terms, patience=patience, tokens_only=tokens_only)
    check_outputs(outputs, verifier.holds.card.program)
    try:
        found = verifier.check(request, receipt, challenge, opening, waited)
    except VerificationError as e:
        if recorder is not None:
            recorder.record(out, verifier.auditor, e, *files, waited)
        reject(out, e, verifier, time.perf_counter() - start)
        raise typer.Exit(1) from e
    if recorder is not None:
        recorder.record(out, verifier.auditor, found.evidence, *files, waited)
    write_outputs(outputs, found.outputs)
    accept(out, found, verifier, time.perf_counter() - start)


def verify_many(
    key: KeyFile,
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Directories with request, receipt, challenge and opening.",
            show_default=False,
        ),
    ],
    node: Signer = None,
    tokens_only: TokensOnly = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check many receipts and openings under one key; print a line for each directory, then a summary.

    With --json each line is an object, the last one with the numbers of directories. Exit status 0: all hold;
    1: at least one was rejected; 2: none was rejected, but the files of at least one cannot be used.
    """
    from proofcompute.cli.verdicts import check_many
    from proofcompute.cli.verifying import Verifier

    verifier = Verifier.of(key, device, node, tokens_only=tokens_only)
    count = check_many(Output(json), verifier, directories)
    if count["rejected"] or count["unusable"]:
        raise typer.Exit(1 if count["rejected"] else 2)


def verify_public(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model file.", show_default=False)],
    receipt: ReceiptFile,
    opening: OpeningFile,
    cells: Annotated[int, typer.Option(min=1, metavar="N", help="Number of cells that the proof must open.")],
    request: RequestFile,
    node: Signer = None,
    outputs: Outputs = None,
    tokens_only: TokensOnly = False,
    beacon: Annotated[
        Path | None, typer.Option(metavar="BEACON", help="The beacon from which the cells are drawn.")
    ] = None,
    attestor: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX", help="Key of somebody whom you believe about beacons; repeatable."),
    ] = None,
    grinding: Grinding = GRINDING_BITS,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a public proof: a receipt and the output of "open --public N". No secret is needed.

    The cells follow from the receipt, so a node can try receipts until they suit it. The result states the
    work, in bits, that it takes to hide a share of altered cells, and how probably it is found after the work
    of --grinding. With --beacon the cells follow from a round of drand that came after the receipt, as far as
    those are believed who say so. The exit statuses are those of verify.
    """
    from proofcompute.cli.verdicts import accept, reject
    from proofcompute.cli.verifying import Verifier

    start, out = time.perf_counter(), Output(json)
    check_outputs(outputs)
    expect(model, "model")
    require_plain(opening, "opening")
    trusted = [hex_bytes(one, "the attestor's public key") for one in attestor or []]
    if (beacon is None) != (not trusted):
        raise InputError("--beacon takes --attestor, somebody whom you believe about it, and the other way")
    verifier = Verifier.of(model, device, node, tokens_only=tokens_only)
    check_outputs(outputs, verifier.holds.card.program)
    try:
        found = verifier.check_public(request, receipt, opening, cells, beacon, trusted)
    except VerificationError as e:
        reject(out, e, verifier, time.perf_counter() - start)
        raise typer.Exit(1) from e
    write_outputs(outputs, found.outputs)
    accept(out, found, verifier, time.perf_counter() - start, public=True, grinding=grinding)


def _seed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError("the seed of a challenge is not hexadecimal") from None
