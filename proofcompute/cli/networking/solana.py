"""The commands ``network solana ...``: rows of verdicts with one root, and instructions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networking.common import work_of, write
from proofcompute.cli.options import Force, Json, Out
from proofcompute.encoding.files import read_limited
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.networks.solana import Instruction

__all__ = ["group"]

group = typer.Typer(help="Note verified work on Solana, and let it check receipts.", rich_markup_mode=None)

Rows = Annotated[Path, typer.Argument(metavar="ROWS", help="A file of rows.", show_default=False)]
Memo = Annotated[str, typer.Option("--memo", metavar="TEXT", help="The memo's text.", show_default=False)]
Payer = Annotated[
    str | None, typer.Option("--payer", metavar="ADDRESS", help="Print the message to sign, of this payer.")
]
Blockhash = Annotated[str | None, typer.Option("--blockhash", metavar="HASH", help="A recent blockhash.")]


def _rows(path: Path) -> bytes:
    from proofcompute.networks.solana import MAX_FILE

    return read_limited(path, MAX_FILE, "rows")


def _print(json: bool, made: Instruction, payer: str | None, blockhash: str | None, whose: str) -> None:
    from proofcompute.networks.solana import unsigned_message

    if (payer is None) != (blockhash is None):
        raise InputError("a message takes both --payer and --blockhash")
    data = base64.b64encode(made.data).decode()
    fields: dict[str, object] = {"program": made.program, "data": data, "interface": whose}
    out = Output(json)
    out.say(f"program {made.program}\ndata {data}")
    if payer is not None and blockhash is not None:
        message = base64.b64encode(unsigned_message(payer, blockhash, [made])).decode()
        out.say(f"message {message}")
        fields["message"] = message
    out.result(fields)


@group.command("rows")
def rows(
    evidence: Annotated[
        list[Path], typer.Argument(metavar="EVIDENCE...", help="Bundles of evidence.", show_default=False)
    ],
    output: Out,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a row for each bundle of evidence, and print the memo of all. The form of rows is our own."""
    from proofcompute.networks.solana import memo
    from proofcompute.networks.solana import rows as made

    check_output(output, force=force)
    document = made([work_of(each) for each in evidence])
    text = memo(document.data).data.decode()
    write(Output(json), output, document, {"memo": text})
    if not json:
        Output(json).say(text)


@group.command("memo")
def memo(rows: Rows, payer: Payer = None, blockhash: Blockhash = None, json: Json = False) -> None:
    """Print the instruction that notes the root of rows."""
    from proofcompute.networks.solana import memo as made

    _print(json, made(_rows(rows), payer), payer, blockhash, "theirs")


@group.command("check")
def check(rows: Rows, memo: Memo, json: Json = False) -> None:
    """Check that a memo is that of rows. Exit status 1: it is not, or the rows are malformed."""
    from proofcompute.networks.solana import check_memo, check_rows

    data = _rows(rows)
    check_memo(data, memo)
    out, number = Output(json), len(check_rows(data))
    out.say(f"the memo is that of these {number} rows; whether they are right, their evidence says")
    out.result({"rows": number, "holds": True})


@group.command("prove")
def prove(
    rows: Rows,
    output: Out,
    index: Annotated[
        int, typer.Option("--index", metavar="NUMBER", help="Which row, from 0.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write what shows that a row is under the memo of all rows, without the others."""
    from proofcompute.networks.solana import proof

    check_output(output, force=force)
    write(Output(json), output, proof(_rows(rows), index))


@group.command("verify")
def verify(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="As prove writes it.", show_default=False)],
    memo: Memo,
    json: Json = False,
) -> None:
    """Check that a row is under a memo, and print it. Exit status 1: it is not."""
    from proofcompute.networks.solana import MAX_PROOF, check_proof

    row = dict(check_proof(read_limited(proof, MAX_PROOF, "proof"), memo))
    out = Output(json)
    out.facts(dict(row))
    out.result({"row": row, "holds": True})


@group.command("receipts")
def receipts(
    files: Annotated[list[Path], typer.Argument(metavar="RECEIPT...", help="Receipts.", show_default=False)],
    payer: Payer = None,
    blockhash: Blockhash = None,
    json: Json = False,
) -> None:
    """Print the instruction by which the chain checks that nodes signed their receipts."""
    from proofcompute.limits import MAX_RECEIPT
    from proofcompute.networks.solana import receipts as made

    for path in files:
        expect(path, "receipt")
    known = [read_limited(path, MAX_RECEIPT, "receipt") for path in files]
    _print(json, made(known), payer, blockhash, "theirs")
