"""Commands about what is said before a request: ``card`` of a model, ``terms`` of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.common import Json, Out, Output, check_output, hex_bytes, load_card, read_card, size
from proofcompute.cli.kinds import expect, kind_of

__all__ = ["card", "terms"]

RETENTION = 7 * 24 * 3600


def card(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="Model file, key, or a card that somebody sent.", show_default=False
        ),
    ],
    output: Out,
    model_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The model id (hex) that it must have.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a model's card: all that it takes to make requests and to check receipts, without weights.

    A card that somebody sent is checked against --model-id. Exit status 1: it is another model's, or none.
    """
    from proofcompute.errors import InputError, MismatchError
    from proofcompute.verifier import check_card

    check_output(output)
    wanted = None if model_id is None else hex_bytes(model_id, "the model id")
    if kind_of(source) in ("model", "key"):
        made = load_card(source)
        if wanted not in (None, made.model_id):
            raise MismatchError(f"{source} is of model {made.model_id.hex()}")
    elif wanted is None:
        raise InputError("say with --model-id which model a card that somebody sent must be of")
    else:
        made = check_card(read_card(source), wanted)
    made.save(output)
    out, nbytes = Output(json), output.stat().st_size
    out.say(f"{output}: {size(nbytes)}, model id {made.model_id.hex()}")
    out.result({"card": str(output), "model_id": made.model_id.hex(), "bytes": nbytes})


def terms(
    output: Out,
    identity: Annotated[Path, typer.Option(help="The node's key pair.", show_default=False)],
    rate: Annotated[
        int, typer.Option(help="Rows that the node computes again in a second.", show_default=False)
    ],
    base: Annotated[int, typer.Option(help="Seconds that an opening may take besides its rows.")] = 30,
    retention: Annotated[int, typer.Option(help="Seconds for which challenges are answered.")] = RETENTION,
    json: Json = False,
) -> None:
    """Sign what a node promises about openings. Receipts of run --terms are under them."""
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import write_atomic
    from proofcompute.protocol.messages import Terms

    check_output(output)
    expect(identity, "identity")
    made = Terms.of(NodeIdentity.load(identity), base=base, rate=rate, retention=retention)
    write_atomic(output, made.encode())
    out = Output(json)
    out.say(f"{output}: openings of n rows within {base} s + n / {rate}, for {retention} s")
    out.result({"terms": str(output), "digest": made.digest.hex(), "node": made.node.hex()})
