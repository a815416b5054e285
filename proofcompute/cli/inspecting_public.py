"""What ``inspect`` shows of public keys, public proofs and the digests of codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from proofcompute.cli.console import size

__all__ = ["PUBLIC_FILES"]

Facts = dict[str, object]


def _key(path: Path) -> Facts:
    from proofcompute.public.key import PublicKey

    key = PublicKey.load(path)
    codes = key.layout.codes
    return {
        "public_id": key.public_id.hex(),
        "model_id": key.card.model_id.hex(),
        "rate": f"words agree in at most 2^-{key.rho} of their positions",
        "codes": [f"{c.rows} messages of {c.length} values, {c.circle.size} positions" for c in codes],
        "program": key.program,
    }


def _factor(path: Path) -> Facts:
    from proofcompute.public.factor import PublicFactor

    key = PublicFactor.load(path)
    shape = [*key.lead, key.contraction, key.b.width]
    return {
        "public_id": key.public_id.hex(),
        "B": f"{key.b.dtype} {shape}, root {key.b.root.hex()} ({key.suite})",
        "rate": f"words agree in at most 2^-{key.rho} of their positions",
    }


def _proof(path: Path) -> Facts:
    from proofcompute.encoding.kinds import kind_in
    from proofcompute.jobs import ProductReceipt
    from proofcompute.protocol.messages import Receipt
    from proofcompute.protocol.samples import Sample
    from proofcompute.public.proof import ALL, Proof

    with path.open("rb") as stream:
        proof = Proof.read(stream)
        products = kind_in(proof.receipts[0]) == "product receipt"
        decode: Callable[[bytes], Receipt | ProductReceipt] = (
            ProductReceipt.decode if products else Receipt.decode
        )
        receipts = [decode(data) for data in proof.receipts]
    return {
        "of": "products" if products else "runs of a model",
        "public_id": proof.head.public_id.hex(),
        "positions": proof.head.positions,
        "requests": [r.request_digest.hex() for r in receipts],
        "rows" if products else "cells": [
            "all" if one.cells == ALL else str(one.cells) if isinstance(one.cells, Sample) else one.cells
            for one in proof.head.requests
        ],
        "beacons": sum(bool(one.beacon) for one in proof.head.requests),
        "nodes": [r.node.hex() for r in receipts],
        "evaluation": size(proof.evaluation_size),
    }


def _digests(path: Path) -> Facts:
    from proofcompute.public.store import codes_head

    model_id, rho, count = codes_head(path)
    return {"model_id": model_id.hex(), "rate": f"2^-{rho}", "weights": count}


PUBLIC_FILES: Final[Mapping[str, Callable[[Path], Facts]]] = {
    "public key": _key,
    "public factor": _factor,
    "public proof": _proof,
    "code digests": _digests,
}
