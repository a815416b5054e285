"""The commands ``network helium ...``: records of verified work in files of oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import work_of, write
from proofcompute.cli.options import Force, Json
from proofcompute.encoding.files import read_limited

__all__ = ["group"]

group = typer.Typer(
    help="Write verified work as records for oracles of Helium; the message is our own.",
    rich_markup_mode=None,
)

Bundles = Annotated[
    list[Path], typer.Argument(metavar="EVIDENCE...", help="Bundles of evidence.", show_default=False)
]


@group.command("records")
def records(
    evidence: Bundles,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a record of each bundle into one file, named as oracles name theirs."""
    from proofcompute.networks.helium import file_name
    from proofcompute.networks.helium import write as made

    works = [work_of(path) for path in evidence]
    document = made(works)
    output.mkdir(parents=True, exist_ok=True)
    path = output / file_name(works)
    check_output(path, force=force)
    write(Output(json), path, document)


@group.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of records.", show_default=False)],
    evidence: Bundles,
    json: Json = False,
) -> None:
    """Check that a file has one record of each bundle, which says what the bundle says, and no other.

    Exit status 1: it does not. Whether the bundles are right, verify-evidence decides.
    """
    from proofcompute.networks.helium import MAX_PACKED, check

    works = [work_of(path) for path in evidence]
    check(read_limited(file, MAX_PACKED, "file"), works, file.name)
    out = Output(json)
    out.say(f"{file}: {len(works)} records, as the bundles say")
    out.result({"holds": True, "records": len(works), "outcomes": [work.outcome.kind for work in works]})


@group.command("proto")
def proto() -> None:
    """Print the message of a record, for tools of protobuf."""
    from proofcompute.networks.helium import PROTO

    typer.echo(PROTO, nl=False)
