"""Models of several kinds with their public keys, and answers with the openings that proofs hold."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np

import synthetic
from adversary import routed
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.public.proof import ALL
from proofcompute.public.proving import Answered, coded_challenge, prove, verify_proof
from proofcompute.public.publishing import Published, publish
from proofcompute.verifier import Verified, check_receipt

KERNELS = synthetic.KERNELS
POSITIONS, SECURITY = 30, 115.0
"""Positions that the tests open, and the bits of one attempt that they ask for."""


LONG = 18
"""The number of the request with so many tokens, each the likeliest."""


@cache
def model(kind: str) -> Model:
    if kind.startswith("experts"):
        return routed.model(*(int(n) for n in kind[7:]))
    return synthetic.model(0, kind)


@cache
def published(kind: str, rho: int = 4) -> Published:
    return publish(model(kind), KERNELS, rho=rho)


def request(kind: str, number: int = 0) -> Request:
    m = model(kind)
    if kind.startswith("experts"):
        return Request(m.model_id, (("x", routed.rows().tobytes()),), bytes([number]) * 32)
    if number == LONG:
        return synthetic.request(m, "long", max_tokens=LONG, sampling=Sampling(0.0), ignore_end=True)
    return synthetic.request(m, f"number {number}", max_tokens=5 + number)


@cache
def _opened(kind: str, number: int, cells: int) -> tuple[bytes, bytes]:
    m, asked = model(kind), request(kind, number)
    node = Node(m, synthetic.NODE, device=KERNELS)
    receipt = node.commit(node.run(asked)).encode()
    claim, out = check_receipt(m, asked, receipt, None), io.BytesIO()
    node.open(asked, receipt, coded_challenge(claim, cells), out)
    return receipt, out.getvalue()


def answered(kind: str, number: int = 0, cells: int = ALL) -> Answered:
    """A request with an honest receipt and opening."""
    receipt, opening = _opened(kind, number, cells)
    return Answered(request(kind, number), receipt, io.BytesIO(opening), cells)


def proof(kind: str, *one: Answered, positions: int = POSITIONS, kernels: Kernels = KERNELS) -> bytes:
    out = io.BytesIO()
    prove(published(kind), model(kind), one or (answered(kind),), out, positions=positions, kernels=kernels)
    return out.getvalue()


def verified(
    kind: str, data: bytes, *requests: Request, kernels: Kernels = KERNELS, **options: Any
) -> tuple[Verified, ...]:
    key = published(kind).key
    return verify_proof(
        key,
        requests or (request(kind),),
        io.BytesIO(data),
        kernels=kernels,
        **{"security": SECURITY, **options},
    )


def changed(data: bytes, at: int, mask: int = 1) -> bytes:
    out = np.frombuffer(data, np.uint8).copy()
    out[at] ^= mask
    return out.tobytes()
