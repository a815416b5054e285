"""Openings that end with public proofs, honest and false."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Receipt, Request, Terms
from proofcompute.protocol.messages.closing import frame_digest
from proofcompute.prover.node import Node
from proofcompute.prover.opening import OpenedProduct
from proofcompute.public.openings import ByPublicProof, ProofMaker
from proofcompute.verifier import Verified, check_receipt
from proofcompute.verifier.auditor import Auditor, Cells
from public.forging import Off, with_hints
from public.world import KERNELS, SECURITY, model, published, request

KIND = "w8a16"
CELLS = 5


@cache
def holds(kind: str = KIND) -> ByPublicProof:
    return ByPublicProof(published(kind).key, SECURITY)


def terms(kind: str = KIND, identity: NodeIdentity = synthetic.NODE, **more: Any) -> Terms:
    options = {"base": 30, "rate": 1000, "retention": 3600, "proofs": [published(kind).key.public_id], **more}
    return Terms.of(identity, **options)


def auditor(kind: str = KIND, kernels: Kernels = KERNELS) -> Auditor:
    return Auditor(holds(kind), device=kernels)


@cache
def node(kind: str = KIND, kernels: Kernels = KERNELS) -> Node:
    return Node(model(kind), synthetic.NODE, device=kernels)


@cache
def receipt(kind: str = KIND, number: int = 0) -> Receipt:
    return node(kind).commit(node(kind).run(request(kind, number)))


def claim(kind: str = KIND, number: int = 0) -> Claim:
    return check_receipt(model(kind), request(kind, number), receipt(kind, number).encode(), None)


def challenge(
    cells: Cells = CELLS, kind: str = KIND, number: int = 0, *, seed: bytes | None = b"cells"
) -> Challenge:
    asked = request(kind, number)
    return auditor(kind).challenge(asked, receipt(kind, number).encode(), cells, seed=seed)


def opened(
    challenge: Challenge,
    kind: str = KIND,
    number: int = 0,
    *,
    by: Node | None = None,
    maker: ProofMaker | None = None,
    of: Receipt | None = None,
    asked: Request | None = None,
) -> bytes:
    by = by or node(kind)
    maker = maker or ProofMaker(published(kind), model(kind), by.kernels)
    of = of or receipt(kind, number)
    hearer, ending = maker.begin(of, challenge)
    return by.open(asked or request(kind, number), of, challenge, hearer=hearer, ending=ending)


def check(challenge: Challenge, opening: bytes, kind: str = KIND, number: int = 0, **more: Any) -> Verified:
    data = receipt(kind, number).encode()
    return auditor(kind, more.pop("kernels", KERNELS)).check(
        request(kind, number), data, challenge, opening, **more
    )


def closed(frames: Sequence[bytes], challenge: Challenge, kind: str = KIND, number: int = 0) -> bytes:
    """An opening of these frames, without their closing frame, which the node signs as it is."""
    return synthetic.closed(frames, receipt(kind, number), challenge)


class _Heard:
    """Hears other frames than those that are opened: what a prover sends who writes false hints."""

    def __init__(self, hearer: Any, sent: Sequence[bytes]) -> None:
        self._hearer, self._sent = hearer, iter(sent)

    def roots(self, roots: Sequence[bytes]) -> None:
        self._hearer.roots(roots)

    def cell(self, cell: Cell, digests: Sequence[bytes], products: Sequence[OpenedProduct]) -> None:
        self._hearer.cell(cell, [frame_digest(next(self._sent)) for _ in digests], products)


def false_hints(
    asked: Challenge, changes: dict[tuple[int, int, int], Off], kind: str = KIND, number: int = 0
) -> list[bytes]:
    """The frames of an opening with wrong accumulators, and the best proof of them that its node can make."""
    frames = with_hints(
        kind, claim(kind, number), asked, synthetic.frames(opened(asked, kind, number)), changes
    )
    by, mine = node(kind), ProofMaker(published(kind), model(kind), KERNELS)
    hearer, ending = mine.begin(receipt(kind, number), asked)
    again = by.open(
        request(kind, number),
        receipt(kind, number),
        asked,
        hearer=_Heard(hearer, frames[1:-2]),
        ending=ending,
    )
    return [*frames[:-2], synthetic.frames(again)[-2]]


def last_cell(asked: Challenge, kind: str = KIND) -> int:
    """The number of a challenged cell of the last segment, whose accumulators no other cell reads."""
    last = len(model(kind).program.plans) - 1
    return next(at for at, cell in enumerate(asked.cells) if cell.segment == last)
