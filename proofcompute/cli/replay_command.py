"""The command of a verifier that holds the model: ``replay``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.common import (
    Device,
    Json,
    Output,
    complain,
    hex_bytes,
    kernels,
    load_model,
    progress,
    read_receipt,
    read_request,
    rejection,
)
from proofcompute.errors import VerificationError
from proofcompute.soundness import shown

__all__ = ["replay"]


def replay(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)],
    receipt: Annotated[
        Path, typer.Argument(metavar="RECEIPT", help="The node's receipt.", show_default=False)
    ],
    request: Annotated[Path, typer.Option(help="Your request.", show_default=False)],
    node: Annotated[str | None, typer.Option(metavar="PUBKEY", help="Who must have signed (hex).")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check a receipt by computing all of it again; nothing more is needed from the node.

    Exit status 0: it holds; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.verifier import replay as compute

    start = time.perf_counter()
    signer = None if node is None else hex_bytes(node, "the node's public key")
    asked, held, backend = read_request(request), load_model(model), kernels(device)
    asked.check(held.program, held.model_id)
    out = Output(json)
    try:
        with progress("replay") as advance:
            found = compute(
                held, asked, read_receipt(receipt, asked), kernels=backend, node=signer, progress=advance
            )
    except VerificationError as e:
        complain(f"REJECTED: {e}")
        out.result({**rejection(e), "seconds": time.perf_counter() - start})
        raise typer.Exit(1) from e
    seconds = time.perf_counter() - start
    out.say("verified: computed again, every cell and the answer are the node's")
    out.facts(
        {
            "rows": f"{found.rows}, in {seconds:.2f} s",
            "soundness": shown(found.soundness_bits),
            "node": found.node.hex(),
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
            "model_id": held.model_id.hex(),
            "soundness_bits": found.soundness_bits,
            "seconds": seconds,
        }
    )
