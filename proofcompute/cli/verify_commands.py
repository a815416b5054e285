"""Commands of a verifier: ``challenge``, ``verify``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.common import (
    Device,
    Json,
    Out,
    Output,
    check_output,
    complain,
    hex_bytes,
    kernels,
    load_model,
    progress,
    read_challenge,
    read_receipt,
    read_request,
    rejection,
    size,
)
from proofcompute.cli.kinds import expect, kind_of
from proofcompute.errors import InputError, VerificationError

if TYPE_CHECKING:
    from proofcompute.card import ModelCard
    from proofcompute.kernels import Kernels
    from proofcompute.messages import Request
    from proofcompute.model import Model
    from proofcompute.verifier import Key, Verified

__all__ = ["challenge", "verify"]

CELLS = 16
"""Cells that a challenge names unless told otherwise."""
SHARES = (0.01, 0.1)
"""Shares of altered cells for which ``verify`` states the probability of detection."""

ReceiptFile = Annotated[
    Path, typer.Argument(metavar="RECEIPT", help="The node's receipt.", show_default=False)
]


KeyFile = Annotated[
    Path, typer.Argument(metavar="KEY", help="Verifier's key, or the model file.", show_default=False)
]
RequestFile = Annotated[Path, typer.Option(help="Your request.", show_default=False)]
NodeKey = Annotated[str | None, typer.Option(metavar="PUBKEY", help="Who must have signed (hex).")]


def challenge(
    key: KeyFile,
    receipt: ReceiptFile,
    output: Out,
    request: RequestFile,
    node: NodeKey = None,
    cells: Annotated[int | None, typer.Option(help=f"Cells to draw ({CELLS} unless given).")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every cell: a full audit.")] = False,
    seed: Annotated[str | None, typer.Option(help="Draw from this hex seed: for tests only.")] = None,
    retention: Annotated[
        int, typer.Option(min=0, help="Refuse a receipt whose trace is kept for fewer seconds.")
    ] = 0,
    json: Json = False,
) -> None:
    """Check a receipt, and choose the cells that the node must open.

    Exit status 0: the receipt holds so far; 1: it is rejected; 2: your own files cannot be used.
    """
    check_output(output)
    if all_ and (cells is not None or seed is not None):
        raise InputError("--all leaves nothing to draw: give it without --cells and --seed")
    from proofcompute.files import write_atomic
    from proofcompute.messages import Challenge, all_cells, count_cells, draw_cells
    from proofcompute.verifier import Key, check_receipt

    signer = None if node is None else hex_bytes(node, "the node's public key")
    held, asked = _held(key), read_request(request)
    claim = check_receipt(held, asked, read_receipt(receipt), signer, retention=retention)
    chosen = (
        all_cells(claim)
        if all_
        else draw_cells(claim, CELLS if cells is None else cells, None if seed is None else _seed(seed))
    )
    hints = isinstance(held, Key)
    made = Challenge(claim.receipt.digest, chosen, hints=hints, tables=hints)
    write_atomic(output, made.encode())
    out, count, total = Output(json), sum(c.b - c.a for c in chosen), count_cells(claim)
    out.say(f"{output}: {count} of {total} cells")
    out.result(
        {
            "challenge": str(output),
            "cells": count,
            "total_cells": total,
            "receipt_digest": claim.receipt.digest.hex(),
        }
    )


def verify(
    key: KeyFile,
    receipt: ReceiptFile,
    challenge: Annotated[
        Path, typer.Argument(metavar="CHALLENGE", help="Your challenge.", show_default=False)
    ],
    opening: Annotated[
        Path, typer.Argument(metavar="OPENING", help="What the node opened.", show_default=False)
    ],
    request: RequestFile,
    node: NodeKey = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a receipt and its opened cells.

    Exit status 0: they hold; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.tokens import check_text
    from proofcompute.verifier import Key
    from proofcompute.verifier import verify as check

    start = time.perf_counter()
    signer = None if node is None else hex_bytes(node, "the node's public key")
    asked = read_request(request)
    cells = read_challenge(challenge)
    backend = kernels(device)
    holder = _holder(key, backend)
    asked.check(holder.card.program, holder.card.model_id)
    check_text(holder.card, asked)
    if cells.hints != isinstance(holder, Key):
        raise InputError(
            "the challenge is for a verifier with a key; make one with the model file"
            if cells.hints
            else "the challenge is for a verifier that holds the model; make one with the key"
        )
    out = Output(json)
    try:
        stream = opening.open("rb")
    except OSError as e:
        raise InputError(f"cannot read opening {opening}: {e.strerror or e}") from e
    with stream:
        total = sum(c.b - c.a for c in cells.cells)
        try:
            with progress("verify", total) as advance:
                data = read_receipt(receipt)
                found = check(
                    holder,
                    asked,
                    data,
                    cells,
                    stream,
                    kernels=backend,
                    node=signer,
                    progress=advance,
                )
        except VerificationError as e:
            _reject(out, e, holder, time.perf_counter() - start)
            raise typer.Exit(1) from e
    _accept(out, found, holder, asked, data, time.perf_counter() - start)


def _held(path: Path) -> Key | Model:
    """The key, or the model with weights that nobody has checked yet."""
    from proofcompute.verifier import Key

    if kind_of(path) == "model":
        return load_model(path)
    expect(path, "key")
    return Key.load(path)


def _holder(path: Path, backend: Kernels) -> Key | Model:
    """The key, or the model once its weights are known to be those of its model id."""
    from proofcompute.verifier import Key

    held = _held(path)
    if not isinstance(held, Key):
        with progress("weights", sum(s.rows * s.row_bytes for s in held.program.weights)) as advance:
            held.check_roots(backend.hash_rows, advance)
    return held


def _accept(
    out: Output,
    found: Verified,
    holder: Key | Model,
    request: Request,
    receipt: bytes,
    seconds: float,
) -> None:
    card = holder.card
    answer = _answer(card, receipt)
    shares = {s: found.detects_share(s) for s in SHARES}
    out.say("verified: every cell asked for was checked and holds")
    out.facts(
        {
            "cells": f"{found.cells} of {found.total}{' (all)' if found.complete else ''}",
            "soundness": f"{found.soundness_bits:.1f} bits for each checked cell",
            "one altered cell": f"found with probability {found.detects_one:.4g}",
            **{f"{s:.0%} altered": f"found with probability {p:.4g}" for s, p in shares.items()},
            "node": found.node.hex(),
            "opening": f"{size(found.bytes_opened)}, checked in {seconds:.2f} s",
            **({} if answer is None else {"answer": answer}),
        }
    )
    out.result(
        {
            "verified": True,
            "cells": found.cells,
            "total_cells": found.total,
            "complete": found.complete,
            "rows": found.rows,
            "outputs": found.outputs,
            "stop_reason": found.stop_reason,
            "node": found.node.hex(),
            "model_id": card.model_id.hex(),
            "soundness_bits": found.soundness_bits,
            "attempts": _attempts(holder),
            "detects_one": found.detects_one,
            "detects_shares": {str(s): p for s, p in shares.items()},
            "bytes_opened": found.bytes_opened,
            "text": request.text,
            "answer": answer,
            "seconds": seconds,
        }
    )


def _answer(card: ModelCard, receipt: bytes) -> str | None:
    """The text of a verified answer, for programs that generate text."""
    import numpy as np

    from proofcompute.messages import Receipt

    if card.vocabulary is None or not card.program.feedback:
        return None
    tokens = np.frombuffer(Receipt.decode(receipt).outputs[0][1], "<i4").tolist()
    return card.vocabulary.text_bytes(tokens).decode("utf-8", "replace")


def _reject(out: Output, error: VerificationError, holder: Key | Model, seconds: float) -> None:
    """What failed, without anything that would tell about the secret columns (the error holds nothing)."""
    complain(f"REJECTED: {error}")
    out.result(
        {
            **rejection(error),
            "cells": 0,
            "soundness_bits": 0.0,
            "attempts": _attempts(holder),
            "seconds": seconds,
        }
    )


def _attempts(holder: Key | Model) -> int | None:
    """Verifications made under the key so far; a model needs no count."""
    from proofcompute.verifier import Key

    return len(holder.log.attempts) if isinstance(holder, Key) else None


def _seed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError("the seed of a challenge is written in hex") from None
