"""The commands ``network aethir ...``: reports of checkers, and what their majority says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import work_of, write
from proofcompute.cli.options import Force, Json, Out
from proofcompute.encoding.files import read_limited

__all__ = ["group"]

group = typer.Typer(help="Vote about work as checker nodes do; the form is our own.", rich_markup_mode=None)


@group.command("report")
def report(
    evidence: EvidenceFile,
    output: Out,
    signing_key: Annotated[
        Path,
        typer.Option("--signing-key", metavar="FILE", help="Your key on secp256k1.", show_default=False),
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign what an auditor found as the report of a checker (EIP-191). The form of reports is our own."""
    from proofcompute.networks.aethir import report as made
    from proofcompute.networks.evm.typed import EvmKey

    check_output(output, force=force)
    write(Output(json), output, made(work_of(evidence), EvmKey.load(signing_key)))


@group.command("majority")
def majority(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="Reports of checkers.", show_default=False)
    ],
    checker: Annotated[
        list[str],
        typer.Option("--checker", metavar="ADDRESS", help="A checker; 2 N + 1 times.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Say what the majority of a roster of checkers found.

    Exit status 1: there is no majority, or a report does not hold.
    """
    from proofcompute.networks.aethir import MAX_REPORT
    from proofcompute.networks.aethir import majority as counted

    found = counted([read_limited(path, MAX_REPORT, "report") for path in reports], checker)
    out = Output(json)
    out.say(f"{len(found.checkers)} of {len(checker)} say: {found.outcome}")
    for name, who in (("said something else", found.others), ("said two things", found.equivocal)):
        if who:
            out.say(f"{name}: {', '.join(who)}")
    out.result({**vars(found), "interface": "ours"})
