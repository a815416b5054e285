"""The commands ``network verified-cluster ...``: judge clusters by a policy, and check such verdicts."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networking.common import work_of, write
from proofcompute.cli.options import Force, Json, Out, hex_bytes
from proofcompute.encoding.files import read_limited, write_atomic

if TYPE_CHECKING:
    from proofcompute.networks.cluster.judging import Cluster
    from proofcompute.networks.cluster.lines import Line
    from proofcompute.networks.work import Work

__all__ = ["group"]

NOT_VERIFIED = 3
"""Exit status: the verdict holds, and says that the cluster is not verified."""

group = typer.Typer(
    help="Judge a cluster's nodes by a policy of your own, and check such verdicts.", rich_markup_mode=None
)

Bundles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="EVIDENCE", help="Bundles of evidence, and folders of them.", show_default=False),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Judge as of this time, such as 2026-11-30T00:00:00Z."),
]


def _works(paths: Sequence[Path]) -> list[Work]:
    files = [
        file
        for path in paths
        for file in (sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path])
    ]
    return [work_of(file) for file in files]


def _time(text: str | None) -> int:
    from proofcompute.networks.cluster.forms import time_of

    return round(time.time() * 1000) if text is None else time_of(text)


@group.command("records")
def records(
    ledger: Annotated[
        str, typer.Argument(metavar="LEDGER", help="File or URL of a ledger.", show_default=False)
    ],
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="A policy in YAML.", show_default=False)],
    output: Out,
    bundles: Annotated[
        Path,
        typer.Option("--bundles", metavar="FOLDER", help="Where to write evidence.", show_default=False),
    ],
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Begin of the period.", show_default=False)
    ],
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Its end.", show_default="now")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the cluster is called.")] = "cluster",
    hardware: Annotated[
        list[str] | None,
        typer.Option(metavar="PUBKEY=CLASS", help="A node's class of hardware. Repeatable."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Take from a ledger the records of a period, and the evidence of the policy's auditors about it.

    Answers have the durations that gateways and auditors measured. Older ones have none, and fail a line that
    needs it.
    """
    from proofcompute.ledger import Ledger
    from proofcompute.networks.cluster.forms import MAX_POLICY, Policy
    from proofcompute.networks.cluster.recorded import bundles as kept
    from proofcompute.networks.cluster.recorded import records as recorded

    check_output(output, force=force)
    asked, out = Policy.read(read_limited(policy, MAX_POLICY, "policy")), Output(json)
    classes = {
        hex_bytes(node, "the node's public key"): label
        for node, _, label in (each.partition("=") for each in hardware or ())
    }
    missing, written = [], 0
    bundles.mkdir(parents=True, exist_ok=True)
    with Ledger(ledger) as opened:
        known = recorded(opened, name, _time(start), _time(until), classes)
        for digest, data in kept(opened, asked, known):
            if data is None:
                missing.append(digest.hex())
            else:
                write_atomic(bundles / digest.hex(), data)
                written += 1
    write_atomic(output, json_module.dumps(known.value, indent=1).encode() + b"\n")
    out.say(f"{output}: {len(known.nodes)} nodes; {bundles}: {written} bundles")
    if missing:
        out.say(f"bundles that the ledger does not keep: {', '.join(missing)}")
    out.result({"records": str(output), "nodes": len(known.nodes), "bundles": written, "missing": missing})


@group.command("judge")
def judge(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="A policy in YAML.", show_default=False)],
    records: Annotated[
        Path, typer.Argument(metavar="RECORDS", help="What was recorded, in JSON.", show_default=False)
    ],
    output: Out,
    identity: Annotated[
        Path, typer.Option("--identity", metavar="FILE", help="Your key pair.", show_default=False)
    ],
    evidence: Bundles = None,
    at: At = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Judge a cluster, and sign the verdict with the evidence behind each line.

    The policy and the verdict are our own forms: no network defines them.
    """
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.networks.cluster.forms import MAX_POLICY, MAX_RECORDS, Policy, Records
    from proofcompute.networks.cluster.judging import judge as judged
    from proofcompute.networks.cluster.judging import wrap

    check_output(output, force=force)
    expect(identity, "identity")
    asked = Policy.read(read_limited(policy, MAX_POLICY, "policy"))
    known = Records.read(read_limited(records, MAX_RECORDS, "records"))
    found = judged(asked, known, _works(evidence or ()), _time(at))
    out = Output(json)
    _show(out, found)
    made = wrap(found, NodeIdentity.load(identity))
    write(out, output, made)


@group.command("verify")
def verify(
    envelope: Annotated[
        Path, typer.Argument(metavar="ENVELOPE", help="A signed verdict.", show_default=False)
    ],
    signer: Annotated[
        str,
        typer.Option("--signer", metavar="PUBKEY", help="Public key (hex) of its maker.", show_default=False),
    ],
    evidence: Bundles = None,
    at: At = None,
    json: Json = False,
) -> None:
    """Check a verdict from its envelope, a public key and the bundles that it names, and nothing else.

    It is judged again; what only the operator's records say is its maker's word, and each line says so.

    Exit status 0: it holds, and the cluster is verified; 1: it does not hold; 3: the cluster is not verified.
    """
    from proofcompute.networks.cluster.judging import MAX_ENVELOPE, check

    key = hex_bytes(signer, "the maker's public key")
    found = check(read_limited(envelope, MAX_ENVELOPE, "envelope"), key, _works(evidence or ()), _time(at))
    out = Output(json)
    _show(out, found)
    out.result({"holds": True, **_fields(found)})
    if not found.verified:
        raise typer.Exit(NOT_VERIFIED)


@group.command("schema")
def schema(
    records: Annotated[bool, typer.Option("--records", help="That of records, not of policies.")] = False,
) -> None:
    """Print the JSON schema of policies, or of records."""
    from proofcompute.networks.cluster.schemas import POLICY, RECORDS

    typer.echo(json_module.dumps(RECORDS if records else POLICY, indent=2))


def _show(out: Output, found: Cluster) -> None:
    for node in found.nodes:
        out.say(f"{node.node.hex()}: {'verified' if node.verified else 'NOT verified'}")
        for line in node.lines:
            out.say(f"  {_told(line)}")
    name = found.records.value["cluster"]
    out.say(f"{name}: {'verified' if found.verified else 'NOT verified'}, by a policy of our own form")
    for line in found.lines:
        out.say(f"  {_told(line)}")


def _told(line: Line) -> str:
    basis = {
        "evidence": f"by {len(line.evidence)} bundles",
        "records": "by the operator's word",
        "both": f"by {len(line.evidence)} bundles and the operator's word",
    }[line.basis]
    return f"{line.name}: {line.found} of {line.required}, {'holds' if line.holds else 'FAILS'} ({basis})"


def _fields(found: Cluster) -> dict[str, object]:
    return {
        "cluster": found.records.value["cluster"],
        "verified": found.verified,
        "nodes": {each.node.hex(): each.verified for each in found.nodes},
        "failing": {
            each.node.hex(): [line.name for line in each.lines if not line.holds] for each in found.nodes
        },
        "interface": "ours",
    }
