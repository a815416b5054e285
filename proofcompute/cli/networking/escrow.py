"""The commands ``network evm escrow`` and ``network evm anchor``: calls of this package's contracts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networking.common import Chain, Contract, write
from proofcompute.cli.options import Force, Json, Out, hex_bytes
from proofcompute.encoding.files import read_limited

if TYPE_CHECKING:
    from proofcompute.networks.evm.escrow import Terms

__all__ = ["anchor", "escrow"]

escrow = typer.Typer(help="Lock, release and slash money by verdicts of a committee.", rich_markup_mode=None)
anchor = typer.Typer(help="Publish roots of receipts, with the time of a chain.", rich_markup_mode=None)

TermsFile = Annotated[Path, typer.Argument(metavar="TERMS", help="The job's terms.", show_default=False)]
Receipts = Annotated[
    list[Path], typer.Argument(metavar="RECEIPT...", help="Receipts, in order.", show_default=False)
]


def _print(json: bool, what: str, data: bytes, value: int = 0, **fields: object) -> None:
    out = Output(json)
    worth = f", sent with {value}" if value else ""
    out.say(f"{what}{worth}\n0x{data.hex()}")
    out.result(
        {"function": what, "data": "0x" + data.hex(), "value": str(value), "interface": "ours", **fields}
    )


def _terms(path: Path) -> Terms:
    from proofcompute.networks.evm.escrow import MAX_TERMS, Terms

    return Terms.decode(read_limited(path, MAX_TERMS, "terms"))


@escrow.command("deploy")
def deploy(
    member: Annotated[
        list[str],
        typer.Option("--member", metavar="ADDRESS", help="An auditor; once for each.", show_default=False),
    ],
    threshold: Annotated[
        int, typer.Option("--threshold", metavar="NUMBER", help="Members of a quorum.", show_default=False)
    ],
    window: Annotated[
        int,
        typer.Option(
            "--window", metavar="SECONDS", help="Time for another verdict after an acceptance or silence."
        ),
    ] = 86_400,
    json: Json = False,
) -> None:
    """Print the transaction that deploys the contract for a committee."""
    from proofcompute.networks.evm.escrow import deployment

    _print(json, "deployment", deployment(member, threshold, window))


@escrow.command("terms")
def terms_(
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST", help="What the node is asked.", show_default=False)
    ],
    output: Out,
    client: Annotated[str, typer.Option("--client", metavar="ADDRESS", help="Who pays.", show_default=False)],
    payee: Annotated[
        str, typer.Option("--payee", metavar="ADDRESS", help="Who is paid: the node.", show_default=False)
    ],
    node: Annotated[
        str, typer.Option("--node", metavar="PUBKEY", help="The node's key in receipts.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model-id", metavar="HEX", help="The model's identifier.", show_default=False)
    ],
    price: Annotated[
        int, typer.Option("--price", metavar="AMOUNT", help="In the smallest unit.", show_default=False)
    ],
    stake: Annotated[
        int, typer.Option("--stake", metavar="AMOUNT", help="In the smallest unit.", show_default=False)
    ],
    forfeit: Annotated[
        int,
        typer.Option(
            "--forfeit",
            metavar="AMOUNT",
            help="What of the stake the node loses if it does not show its work.",
            show_default=False,
        ),
    ],
    take_by: Annotated[
        int, typer.Option("--take-by", metavar="TIME", help="Seconds since 1970.", show_default=False)
    ],
    deadline: Annotated[
        int, typer.Option("--deadline", metavar="TIME", help="Seconds since 1970.", show_default=False)
    ],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write down what client and node agree on; the contract knows a job by this."""
    from proofcompute.limits import MAX_REQUEST
    from proofcompute.networks.evm.escrow import Terms
    from proofcompute.protocol.messages import Request

    check_output(output, force=force)
    expect(request, "request")
    made = Terms(
        client=client,
        payee=payee,
        node=hex_bytes(node, "the node's public key"),
        request=Request.decode(read_limited(request, MAX_REQUEST, "request")).digest,
        model=hex_bytes(model, "the model's identifier"),
        price=price,
        stake=stake,
        forfeit=forfeit,
        take_by=take_by,
        deadline=deadline,
    )
    write(Output(json), output, made.document(), {"job": "0x" + made.job.hex()})


@escrow.command("call")
def call(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CALL", help="open, take, cancel, release, forfeit or expire.", show_default=False
        ),
    ],
    terms: TermsFile,
    json: Json = False,
) -> None:
    """Print a call that needs nothing but the terms, and what is sent with it."""
    from proofcompute.networks.evm.escrow import simple_call

    known = _terms(terms)
    made = simple_call(name, known)
    value = {"open": known.price, "take": known.stake}.get(name, 0)
    _print(json, made.signature, made.data, value, job="0x" + known.job.hex())


@escrow.command("settle")
def settle(
    terms: TermsFile,
    verdicts: Annotated[
        list[Path],
        typer.Argument(metavar="VERDICT...", help="Verdicts that members signed.", show_default=False),
    ],
    chain: Chain,
    contract: Contract,
    json: Json = False,
) -> None:
    """Print the call that brings a quorum's verdicts (``network evm sign``): it accepts, contradicts, or says
    that the node was silent.

    Exit status 1: a verdict is not for this contract and job, or two say different things.
    """
    from proofcompute.networks.evm.escrow import verdict_call
    from proofcompute.networks.evm.signed import MAX_DOCUMENT
    from proofcompute.networks.evm.typed import Domain

    known = _terms(terms)
    documents = [read_limited(path, MAX_DOCUMENT, "document") for path in verdicts]
    made = verdict_call(known, documents, Domain(chain, contract))
    _print(json, made.signature, made.data, job="0x" + known.job.hex())


@escrow.command("withdraw")
def withdraw(json: Json = False) -> None:
    """Print the call by which the contract sends you what it owes you."""
    from proofcompute.networks.evm.escrow import withdraw_call

    made = withdraw_call()
    _print(json, made.signature, made.data)


def _digests(paths: list[Path]) -> list[bytes]:
    from proofcompute.limits import MAX_RECEIPT
    from proofcompute.protocol.messages import Receipt

    for path in paths:
        expect(path, "receipt")
    return [Receipt.decode(read_limited(path, MAX_RECEIPT, "receipt")).digest for path in paths]


@anchor.command("deploy")
def deploy_anchor(json: Json = False) -> None:
    """Print the transaction that deploys the contract."""
    from proofcompute.networks.evm.anchoring import deployment

    _print(json, "deployment", deployment())


@anchor.command("publish")
def publish(receipts: Receipts, json: Json = False) -> None:
    """Print the call that publishes the root of receipts."""
    from proofcompute.networks.evm.anchoring import anchor_call, receipts_root

    digests = _digests(receipts)
    made = anchor_call(digests)
    _print(json, made.signature, made.data, root="0x" + receipts_root(digests).hex(), size=len(digests))


@anchor.command("included")
def included(
    receipts: Receipts,
    publisher: Annotated[
        str, typer.Option("--publisher", metavar="ADDRESS", help="Who published.", show_default=False)
    ],
    index: Annotated[
        int, typer.Option("--index", metavar="PLACE", help="Which receipt, from 0.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Print the call that asks since when a receipt is known."""
    from proofcompute.networks.evm.anchoring import included_call

    made = included_call(publisher, _digests(receipts), index)
    _print(json, made.signature, made.data)
