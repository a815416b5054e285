"""The commands ``network in-toto ...``: verdicts in signed statements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networking.common import AuditorKey, Card, Envelope, Key, Model, judge, work_of, write
from proofcompute.cli.options import Device, Force, Json, Out, hex_bytes
from proofcompute.encoding.files import read_limited

__all__ = ["group"]

group = typer.Typer(help="Put verdicts into in-toto statements in DSSE envelopes.", rich_markup_mode=None)


@group.command("wrap")
def wrap(
    evidence: EvidenceFile,
    output: Out,
    identity: Annotated[
        Path, typer.Option("--identity", metavar="FILE", help="The auditor's key pair.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign a statement about a bundle of evidence, as the auditor who made it."""
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.networks.in_toto import wrap as made

    check_output(output, force=force)
    expect(identity, "identity")
    write(Output(json), output, made(work_of(evidence), NodeIdentity.load(identity)))


@group.command("verify")
def verify(
    envelope: Envelope,
    evidence: EvidenceFile,
    auditor: AuditorKey = None,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check that an envelope says what a bundle says, signed by its auditor; then judge the bundle.

    Exit status 1: the envelope does not hold, or what the auditor says is not so; 3: open.
    """
    from proofcompute.networks.in_toto import MAX_ENVELOPE, check

    work = work_of(evidence)
    trusted = None if auditor is None else hex_bytes(auditor, "the auditor's public key")
    check(read_limited(envelope, MAX_ENVELOPE, "envelope"), work, trusted)
    fields = {"auditor": work.auditor.hex(), "outcome": work.outcome.kind, "node": work.node.hex()}
    judge(Output(json), evidence, key, model, card, device, fields)
