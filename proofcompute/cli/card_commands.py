"""Commands that prepare for requests: ``card`` (of a model) and ``terms`` (of a node)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output, size
from proofcompute.cli.files import check_output, load_card, read_card
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Force, Json, Out, hex_bytes
from proofcompute.encoding.kinds import kind_of

__all__ = ["card", "terms"]

RETENTION = 7 * 24 * 3600
"""Default retention in seconds: a week."""


def card(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="Model file, key, or a card that somebody sent.", show_default=False
        ),
    ],
    output: Out,
    model_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The model id (hex) that the card must have.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a model's card, which suffices to make requests and to check receipts: the model without weights.

    A card that somebody sent is checked against --model-id. Exit status 1: it is not a card of that model.
    """
    from proofcompute.errors import InputError, MismatchError
    from proofcompute.verifier import check_card

    check_output(output, force=force)
    wanted = None if model_id is None else hex_bytes(model_id, "the model id")
    if kind_of(source) in ("model", "key"):
        made = load_card(source)
        if wanted not in (None, made.model_id):
            raise MismatchError(f"{source} is of model {made.model_id.hex()}")
    elif wanted is None:
        raise InputError("a card that somebody sent is checked against a model id; give it with --model-id")
    else:
        made = check_card(read_card(source), wanted)
    made.save(output)
    out, nbytes = Output(json), output.stat().st_size
    out.say(f"{output}: {size(nbytes)}, model id {made.model_id.hex()}")
    out.result({"card": str(output), "model_id": made.model_id.hex(), "bytes": nbytes})


def terms(
    output: Out,
    identity: Annotated[Path, typer.Option(help="The node's key pair.", show_default=False)],
    rate: Annotated[int, typer.Option(help="Rows that the node recomputes per second.", show_default=False)],
    base: Annotated[int, typer.Option(help="Seconds that an opening may take besides its rows.")] = 30,
    retention: Annotated[int, typer.Option(help="Seconds for which challenges are answered.")] = RETENTION,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign a node's terms: how fast and for how long it opens. The receipts of run --terms name them."""
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import write_atomic
    from proofcompute.protocol.messages import Terms

    check_output(output, force=force)
    expect(identity, "identity")
    made = Terms.of(NodeIdentity.load(identity), base=base, rate=rate, retention=retention)
    write_atomic(output, made.encode())
    out = Output(json)
    out.say(f"{output}: openings of n rows within {base} s + n / {rate}, for {retention} s")
    out.result({"terms": str(output), "digest": made.digest.hex(), "node": made.node.hex()})
