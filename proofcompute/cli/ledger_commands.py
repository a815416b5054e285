"""The commands ``ledger ...``: what a fleet's auditors found, and the log of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Force, Json, Out, hex_bytes
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import FormatError, LedgerError, LimitError

if TYPE_CHECKING:
    from proofcompute.ledger import Throughput
    from proofcompute.ledger.checking import Checked
    from proofcompute.ledger.messages import TreeHead

__all__ = ["group"]

group = typer.Typer(
    help="Keep what auditors of a fleet find, and show that nobody rewrote it.", rich_markup_mode=None
)

Where = Annotated[
    str,
    typer.Argument(
        metavar="LEDGER",
        help="An SQLite file, or the URL of a PostgreSQL database: postgresql://USER@HOST/NAME.",
        show_default=False,
    ),
]
Operator = Annotated[
    str | None, typer.Option("--operator", metavar="HEX", help="Public key of the ledger's operator.")
]
_DAY = 86_400
"""Seconds of the newest answers that ``show`` counts for speed."""
SHOWN = 20
"""The most nodes that ``show`` lists unless told otherwise."""


@group.command()
def init(ledger: Where, json: Json = False) -> None:
    """Make a ledger's tables in a database, or bring those of an older version up to date."""
    from proofcompute.ledger import Ledger

    out = Output(json)
    with Ledger.make(ledger) as made:
        size = made.log.size
        out.say(f"{made.name}: a ledger, with {size} verdicts in its log")
        out.result({"ledger": made.name, "size": size})


@group.command()
def show(
    ledger: Where,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Nodes to list.")] = SHOWN,
    json: Json = False,
) -> None:
    """List nodes, the least trusted first, and count jobs and verdicts."""
    from proofcompute.ledger import Ledger

    out = Output(json)
    now = time.time()
    with Ledger(ledger) as opened:
        nodes, jobs, root = opened.fleet.nodes(limit), opened.jobs.count(), opened.log.root()
        equivocations = len(opened.verdicts.equivocations())
        proved = [opened.fleet.throughput(node.key, now - _DAY, now) for node in nodes]
    for node, done in zip(nodes, proved, strict=True):
        trust = node.trust
        how = f"trust {trust.estimate:.4f} ({trust.low:.4f} to {trust.high:.4f})"
        about = node.name or node.url
        out.say(f"{node.key.hex()}  {node.state}, {how}, {node.receipts} receipts, {_speed(done)}  {about}")
    facts = {"jobs": ", ".join(f"{n} {state}" for state, n in jobs.items())}
    out.facts({**facts, "verdicts in the log": root.size, "root": root.root.hex()})
    if equivocations:
        out.facts({"auditors that contradict themselves": equivocations})
    out.result(
        {
            "nodes": [
                {
                    "key": node.key.hex(),
                    "url": node.url,
                    "name": node.name,
                    "state": node.state,
                    "reason": node.reason,
                    "receipts": node.receipts,
                    "proved": {
                        "answers": done.answers,
                        "untimed": done.untimed,
                        "tokens_a_second": done.speed,
                    },
                    "trust": node.trust.estimate,
                    "low": node.trust.low,
                    "high": node.trust.high,
                }
                for node, done in zip(nodes, proved, strict=True)
            ],
            "jobs": jobs,
            "size": root.size,
            "root": root.root.hex(),
            "equivocations": equivocations,
        }
    )


def _speed(done: Throughput) -> str:
    if done.speed is not None:
        return f"{done.speed:.1f} proved tokens/s in {done.answers} answers of a day"
    if done.untimed:
        return f"no speed: {done.untimed} of {done.answers} proved answers of a day were not timed"
    return "no proved answers of a day"


@group.command()
def head(
    ledger: Where,
    output: Out,
    identity: Annotated[
        Path, typer.Option(metavar="FILE", help="The operator's key pair.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign what the log is now, keep the head in the ledger, and write it for others.

    Exit status 1: the log does not continue what was signed last.
    """
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.ledger import Ledger

    check_output(output, force=force)
    mine = NodeIdentity.load(identity)
    with Ledger(ledger) as opened:
        made = opened.log.sign_head(mine, time.time())
    made.save(output)
    out = Output(json)
    out.say(f"{output}: a log of {made.size} verdicts, signed by {made.operator.hex()}")
    out.result({"head": str(output), **_head_fields(made)})


@group.command()
def export(ledger: Where, output: Out, force: Force = False, json: Json = False) -> None:
    """Write the whole log and its heads, which hold no request and no answer, to a file for others."""
    from proofcompute.ledger import Ledger
    from proofcompute.ledger.exports import write_export

    check_output(output, force=force)
    with Ledger(ledger) as opened:
        size = write_export(opened, output)
    out = Output(json)
    out.say(f"{output}: {size} verdicts")
    out.result({"export": str(output), "size": size})


@group.command("import")
def import_(
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="Made by export.", show_default=False)],
    ledger: Where,
    operator: Operator = None,
    json: Json = False,
) -> None:
    """Check an export, and append to a ledger what it has beyond the ledger's own log.

    Exit status 1: the export does not hold, or the ledger's log is no beginning of it.
    """
    from proofcompute.ledger import Ledger
    from proofcompute.ledger.exports import open_export
    from proofcompute.ledger.restoring import restore

    expect(export, "ledger export")
    signer = None if operator is None else hex_bytes(operator, "the operator's public key")
    with open_export(export) as found, Ledger(ledger) as opened:
        checked, new = restore(opened, found, signer)
    out = Output(json)
    out.say(f"{new} of {checked.size} verdicts are new")
    out.result({"new": new, **_fields(checked)})


@group.command()
def verify(
    what: Annotated[
        str,
        typer.Argument(metavar="LEDGER|EXPORT", help="A ledger, or an export of one.", show_default=False),
    ],
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="HEAD", help="A head that you got before. Repeatable."),
    ] = None,
    operator: Operator = None,
    json: Json = False,
) -> None:
    """Check that a log is whole, signed, and continues what its operator signed before.

    Who keeps a head sees whether anything was changed or removed since. Without --operator, the key that
    signed the first head is believed to be the operator's.

    Exit status 0: the log holds; 1: it does not, with what is wrong; 2: your files cannot be used.
    """
    earlier = [_head(path) for path in head or ()]
    signer = None if operator is None else hex_bytes(operator, "the operator's public key")
    path = Path(what)
    if "://" not in what and path.exists() and kind_of(path) == "ledger export":
        checked = _of_export(path, earlier, signer)
    else:
        from proofcompute.ledger import Ledger
        from proofcompute.ledger.restoring import check_ledger

        with Ledger(what) as opened:
            checked = check_ledger(opened, earlier, signer)
    out = Output(json)
    out.say(f"verified: a log of {checked.size} verdicts, which {checked.heads} signed heads fit")
    facts: dict[str, object] = {"root": checked.root.hex()}
    for auditor, count in checked.auditors.items():
        facts[f"{count} verdicts of"] = auditor.hex()
    if checked.quorums:
        facts["of quorums"] = f"{checked.quorums}, whose signatures verdict verify checks"
    if not checked.heads:
        facts["but"] = "no head was signed: nothing shows that this is the log which others saw"
    out.facts(facts)
    out.result({"verified": True, **_fields(checked)})


def _of_export(path: Path, earlier: list[TreeHead], operator: bytes | None) -> Checked:
    from proofcompute.ledger.checking import check_heads, check_leaves
    from proofcompute.ledger.exports import open_export

    with open_export(path) as export:
        heads = check_heads(export.size, export.heads, earlier, operator)
        return check_leaves(export.size, export.leaves(), heads)


def _head(path: Path) -> TreeHead:
    from proofcompute.ledger import TreeHead

    expect(path, "ledger head")
    try:
        return TreeHead.load(path)
    except (FormatError, LimitError) as e:
        raise LedgerError(f"{path}: {e}") from e


def _head_fields(head: TreeHead) -> dict[str, object]:
    return {
        "size": head.size,
        "root": head.root.hex(),
        "made": head.made,
        "operator": head.operator.hex(),
    }


def _fields(checked: Checked) -> dict[str, object]:
    return {
        "size": checked.size,
        "root": checked.root.hex(),
        "heads": checked.heads,
        "auditors": {key.hex(): count for key, count in checked.auditors.items()},
        "quorums": checked.quorums,
    }
