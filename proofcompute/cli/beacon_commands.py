"""The commands ``beacon ...``: statements that a receipt came before a round, and rounds joined to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.bundles import moment
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Force, Json, Out, hex_bytes
from proofcompute.errors import BeaconError, FormatError, InputError, LimitError

if TYPE_CHECKING:
    from proofcompute.beacons import Beacon
    from proofcompute.protocol.messages.signed import Signed

__all__ = ["group"]

group = typer.Typer(
    help="Draw the cells of a public proof from a round of drand that came after its receipt.",
    rich_markup_mode=None,
)

ReceiptFile = Annotated[
    Path, typer.Argument(metavar="RECEIPT", help="The node's receipt.", show_default=False)
]


@group.command()
def attest(
    receipt: ReceiptFile,
    output: Out,
    identity: Annotated[Path, typer.Option(help="The attestor's key pair.", show_default=False)],
    log: Annotated[Path, typer.Option(help="All statements of this attestor; one for each request.")],
    chain: Annotated[str, typer.Option(help="The chain whose round draws the cells.")] = "quicknet",
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign that a receipt is there before a round, as somebody whom verifiers believe.

    A request is attested once. For the same receipt the first statement is written again; another receipt of
    the same request ends with exit status 1. Keep the log: without it a node can try receipts.
    """
    from proofcompute.beacons import CHAINS
    from proofcompute.beacons.attesting import attest as sign
    from proofcompute.commitments.signing import NodeIdentity, signature_holds

    check_output(output, force=force)
    expect(identity, "identity")
    if chain not in CHAINS:
        raise InputError(f"there is no chain {chain!r}; known are {', '.join(CHAINS)}")
    signer, found = NodeIdentity.load(identity), _receipt(receipt)
    if not signature_holds(found.node, found.signed_digest, found.signature):
        raise BeaconError("the receipt's signature does not hold, so it is nobody's")
    made = sign(
        signer,
        log,
        request_digest=found.request_digest,
        receipt_digest=found.digest,
        chain=CHAINS[chain],
    )
    made.save(output)
    out, at = Output(json), CHAINS[chain].time_of(made.round)
    out.say(f"{output}: attested for round {made.round} of {chain}, which is at {moment(1000 * at)}")
    out.result(
        {
            "statement": str(output),
            "chain": made.chain.hex(),
            "round": made.round,
            "round_time": at,
            "made": made.made / 1000,
            "attestor": made.attestor.hex(),
            "receipt_digest": made.receipt_digest.hex(),
            "request_digest": made.request_digest.hex(),
        }
    )


@group.command()
def join(
    statement: Annotated[
        Path, typer.Argument(metavar="STATEMENT", help="Output of attest.", show_default=False)
    ],
    round_: Annotated[
        Path,
        typer.Argument(metavar="ROUND", help="The round, JSON as drand's service sends it."),
    ],
    output: Out,
    force: Force = False,
    json: Json = False,
) -> None:
    """Join a statement and its round to a beacon, which prove --beacon takes. Both are checked.

    Of quicknet, https://api.drand.sh/v2/beacons/quicknet/rounds/N sends round N. Exit status 1: it is not
    that round, or the statement came too late.
    """
    from proofcompute.beacons import Beacon, BeaconStatement, Round, check_beacon

    check_output(output, force=force)
    expect(statement, "beacon statement")
    said, found = BeaconStatement.load(statement), Round.load(round_)
    if found.number != said.round:
        raise BeaconError(f"this is round {found.number}, and the statement is about round {said.round}")
    made = Beacon(said, found.signature)
    check_beacon(made, said.receipt_digest, said.request_digest, [said.attestor])
    made.save(output)
    out = Output(json)
    out.say(f"{output}: round {said.round}, attested by {said.attestor.hex()}")
    out.result({"beacon": str(output), **_fields(made)})


@group.command()
def verify(
    beacon: Annotated[Path, typer.Argument(metavar="BEACON", help="Output of join.", show_default=False)],
    receipt: ReceiptFile,
    attestor: Annotated[
        list[str],
        typer.Option(metavar="PUBKEY", help="Public key (hex) of an attestor whom you believe; repeatable."),
    ],
    json: Json = False,
) -> None:
    """Check that the cells of a receipt are drawn from a round that came after it.

    Exit status 1: the round, the statement or its attestor does not hold; 2: your files cannot be used.
    """
    from proofcompute.beacons import Beacon, check_beacon

    expect(beacon, "beacon")
    trusted = [hex_bytes(one, "the attestor's public key") for one in attestor]
    found = _receipt(receipt)
    try:
        shown = Beacon.load(beacon)
    except (FormatError, LimitError) as e:
        raise BeaconError(str(e)) from e
    tries = check_beacon(shown, found.digest, found.request_digest, trusted)
    out = Output(json)
    out.say(f"verified: round {shown.round.number} came after the receipt, if its attestor is to be believed")
    out.say(f"receipts that a node could try: {tries}")
    out.result({"verified": True, "attempts": tries, **_fields(shown)})


def _fields(beacon: Beacon) -> dict[str, object]:
    return {
        "round": beacon.round.number,
        "randomness": beacon.round.randomness.hex(),
        "seed": beacon.seed.hex(),
        "attestor": beacon.statement.attestor.hex(),
        "made": beacon.statement.made / 1000,
        "receipt_digest": beacon.receipt_digest.hex(),
        "request_digest": beacon.statement.request_digest.hex(),
    }


def _receipt(path: Path) -> Signed:
    """Read a receipt; one that does not decode is its node's fault."""
    from proofcompute.cli.receipts import signed_receipt

    try:
        return signed_receipt(path)
    except (FormatError, LimitError) as e:
        raise BeaconError(f"the receipt does not decode: {e}") from e
