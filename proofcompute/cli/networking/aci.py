"""The commands ``network aci ...``: verdicts in receipts of attested gateways."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import Card, Envelope, Key, Model, judge, work_of, write
from proofcompute.cli.options import Device, Force, Json, Out
from proofcompute.encoding.files import read_limited
from proofcompute.limits import MIB

__all__ = ["group"]

group = typer.Typer(
    help="Carry verdicts in receipts of gateways that run in enclaves.", rich_markup_mode=None
)

MAX_BODY = 64 * MIB


@group.command("event")
def event(evidence: EvidenceFile, output: Out, force: Force = False, json: Json = False) -> None:
    """Write the event that a gateway puts into its receipt about a bundle of evidence."""
    from proofcompute.networks.aci import event as made

    check_output(output, force=force)
    write(Output(json), output, made(work_of(evidence)))


@group.command("verify")
def verify(
    receipt: Envelope,
    evidence: EvidenceFile,
    keyset: Annotated[
        Path, typer.Option("--keyset", metavar="FILE", help="The gateway's keyset.", show_default=False)
    ],
    digest: Annotated[
        str,
        typer.Option("--keyset-digest", metavar="sha256:HEX", help="What was attested.", show_default=False),
    ],
    request: Annotated[
        Path | None, typer.Option("--request", metavar="FILE", help="The body that was sent.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option("--response", metavar="FILE", help="The body that came.")
    ] = None,
    at: Annotated[
        int | None, typer.Option("--at", metavar="TIME", help="Seconds since 1970; now, unless you say it.")
    ] = None,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a gateway's receipt and the verdict in it; then judge the bundle.

    Exit status 1: it does not hold, or what the auditor says is not so; 3: open.
    """
    from proofcompute.networks.aci import MAX_KEYSET, MAX_RECEIPT, check, keyset_of

    work = work_of(evidence)
    bodies = [None if p is None else read_limited(p, MAX_BODY, "body") for p in (request, response)]
    check(
        read_limited(receipt, MAX_RECEIPT, "receipt of a gateway"),
        work,
        read_limited(keyset, MAX_KEYSET, "keyset"),
        keyset_of(digest),
        now=int(time.time()) if at is None else at,
        request=bodies[0],
        response=bodies[1],
    )
    fields = {"keyset": digest, "outcome": work.outcome.kind, "node": work.node.hex()}
    judge(Output(json), evidence, key, model, card, device, fields)
