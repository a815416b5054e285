"""Every check of a GEMM job matters: without it, a named attack passes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from adversary.mutation import Edit, apply
from jobs.cases import (
    DEVICE,
    NODE,
    OTHER,
    Job,
    audit,
    claim,
    closed,
    factors,
    frames_of,
    opened,
    recommitted,
    run,
)
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import VerificationError
from proofcompute.freivalds.field import P61
from proofcompute.jobs import ProductChallenge, ProductVerified, matmul, prove_product, verify_rows
from proofcompute.protocol.messages.closing import OpeningEnd, frames_digest
from proofcompute.protocol.messages.terms import Terms

Attack = Callable[[], ProductVerified]


class Mutant(NamedTuple):
    """One check."""

    step: int
    edits: tuple[Edit, ...]
    """What removes it."""
    attack: Callable[[], Attack]
    """Prepares a verification that must fail, and then passes."""


def never(module: str, condition: str) -> Edit:
    return Edit(module, f"if {condition}:", "if False:")


def sends(c: Callable[[Job], object]) -> Callable[[], Attack]:
    """A node that commits to the right C."""

    def prepare() -> Attack:
        j = run()
        sent = c(j)
        return lambda: audit(j, c=sent)  # type: ignore[arg-type]

    return prepare


def signed(**changes: object) -> Callable[[], Attack]:
    """A receipt with other fields, signed by the node."""

    def prepare() -> Attack:
        j = run("int16", node=NODE.public)
        receipt = replace(j.receipt, **changes)  # type: ignore[arg-type]
        receipt = receipt.signed(NODE.sign(receipt.signed_digest))
        forged = replace_receipt(j, receipt)
        return lambda: audit(forged)

    return prepare


def replace_receipt(j: Job, receipt: object) -> Job:
    return replace(j, proof=replace(j.proof, receipt=receipt))  # type: ignore[arg-type]


def unsigned() -> Attack:
    j = run(node=NODE.public)
    forged = replace_receipt(j, j.receipt.signed(bytes(64)))
    return lambda: audit(forged)


def by_another() -> Attack:
    j = run(node=NODE.public)
    receipt = replace(j.receipt, node=OTHER.public)
    forged = replace_receipt(j, receipt.signed(OTHER.sign(receipt.signed_digest)))
    asked = claim(forged).all_rows()
    data = closed(forged, asked, frames_of(forged, asked), OTHER)
    return lambda: audit(forged, challenge=asked, opening=data)


def replayed() -> Attack:
    old, new = run(), run()  # the same factors, another nonce
    return lambda: audit(old, request=new.request, opening=opened(old))


def kept(**wanted: object) -> Callable[[], Attack]:
    """A receipt that promises 10 seconds, under no terms."""

    def prepare() -> Attack:
        a, b = factors()
        request = run().request
        j = Job(a, b, request, prove_product(request, a, b, NODE, retention=10, device=DEVICE))
        asked = claim(j).all_rows()
        data, receipt = opened(j, asked), j.receipt.encode()
        return lambda: verify_rows(
            b,
            request,
            receipt,
            asked,
            io.BytesIO(data),
            c=j.proof.c,
            device=DEVICE,
            **wanted,  # type: ignore[arg-type]
        )

    return prepare


def of_other_rows() -> Attack:
    """C with a row more than the product."""
    j = run()
    c = np.concatenate([j.proof.c, j.proof.c[:1]])
    longer = recommitted(j, c)
    asked = ProductChallenge(longer.receipt.digest, ((0, 4),))
    return lambda: audit(longer, challenge=asked)


def other_receipt() -> Attack:
    j = run()
    asked = claim(run()).all_rows()
    return lambda: audit(j, challenge=asked)


def other_a() -> Attack:
    honest = run("int16")
    other = factors("int16", seed=5)[0]
    liar = recommitted(honest, matmul(other, honest.b, device=DEVICE)[0], a=other)
    return lambda: audit(liar)


def right_rows_of_a_wrong_c() -> Attack:
    """Commits to zeros and sends zeros, and opens what the product is."""
    j = run("int16")
    liar = recommitted(j, np.zeros_like(j.proof.c))
    asked = claim(liar).all_rows()
    data = closed(liar, asked, frames_of(j, asked))
    return lambda: audit(liar, challenge=asked, opening=data)


def wrong_product() -> Attack:
    j = run("int16")
    liar = recommitted(j, j.proof.c + 1)
    return lambda: audit(liar)


def modular() -> Attack:
    j = run("int16")
    c = j.proof.c.copy()
    c[2, 2] += P61
    liar = recommitted(j, c)
    return lambda: audit(liar)


def by_other_hands() -> Attack:
    j = run()
    asked = claim(j).all_rows()
    data = closed(j, asked, frames_of(j, asked), OTHER)
    return lambda: audit(j, challenge=asked, opening=data)


def other_frames() -> Attack:
    """The right rows, and the node's signature of something else: nobody could show what it sent."""
    j = run()
    asked = claim(j).all_rows()
    frames = frames_of(j, asked)
    end = OpeningEnd(frames_digest([bytes(32)]))
    end = end.signed(NODE.sign(end.signed_digest(j.receipt.digest, asked.digest)))
    stream = io.BytesIO()
    for frame in (*frames, end.encode()):
        write_frame(stream, frame)
    return lambda: audit(j, challenge=asked, opening=stream.getvalue())


def more() -> Attack:
    j = run()
    data = opened(j) + b"\x40"
    return lambda: audit(j, opening=data)


CLOSED = (
    "not signature_holds(receipt.node, end.signed_digest(receipt.digest, challenge_digest), end.signature)"
)
TOO_LARGE = "magnitude(c, self._kernels) > self.types.field.largest"
SIGNER = "not signature_holds(message.node, message.signed_digest, message.signature)"
TERMS = Terms.of(NODE, base=1, rate=1, retention=1)
CLAIM, VERIFYING = "jobs.claim", "jobs.verifying"
RECEIPTS, PROMISES = "protocol.receipts", "protocol.promises"
MUTANTS = {
    "signature": Mutant(
        2,
        (never(RECEIPTS, SIGNER),),
        unsigned,
    ),
    "node addressed": Mutant(
        2, (never(RECEIPTS, "wanted is not None and wanted != message.node"),), by_another
    ),
    "version of the arithmetic": Mutant(3, (never(RECEIPTS, "numerics != NUMERICS"),), signed(numerics=77)),
    "request": Mutant(4, (never(RECEIPTS, "receipt.request_digest != request.digest"),), replayed),
    "shape of C": Mutant(
        5,
        (never(CLAIM, "shape != request.shape"),),
        of_other_rows,
    ),
    "the C received": Mutant(5, (never(CLAIM, "c != receipt.c"),), sends(lambda j: np.zeros_like(j.proof.c))),
    "the C received, named": Mutant(
        5,
        (never(CLAIM, "c != receipt.c"),),
        sends(lambda j: replace(j.receipt.c, root=bytes(32))),
    ),
    "shape of the C received": Mutant(
        5,
        (
            never(CLAIM, "(c.dtype.name, *c.shape) != wanted"),
            never(CLAIM, "c != receipt.c"),
        ),
        sends(lambda j: j.proof.c[:-1]),
    ),
    "that it is looked at": Mutant(
        5, (never(CLAIM, "c is not NOT_RECEIVED"),), sends(lambda j: np.zeros_like(j.proof.c))
    ),
    "retention": Mutant(5, (never(PROMISES, "receipt.retention < seconds"),), kept(retention=11)),
    "terms": Mutant(5, (never(PROMISES, "receipt.terms_digest != terms.digest"),), kept(terms=TERMS)),
    "challenge's receipt": Mutant(
        6, (never("jobs.messages", "self.receipt_digest != receipt.digest"),), other_receipt
    ),
    "rows of A under their root": Mutant(7, (never(VERIFYING, "root != of.root"),), other_a),
    "rows of C under their root": Mutant(7, (never(VERIFYING, "root != of.root"),), right_rows_of_a_wrong_c),
    "the product": Mutant(8, (never("jobs.projection", "not self._holds(a, c, member)"),), wrong_product),
    "the range of C": Mutant(
        8, (never("jobs.projection", "magnitude(c, self._kernels) > self.types.field.largest"),), modular
    ),
    "who closed the opening": Mutant(2, (never("protocol.frames", CLOSED),), by_other_hands),
    "what was closed": Mutant(2, (never("protocol.frames", "not self._signed(end)"),), other_frames),
    "nothing more": Mutant(10, (never("protocol.frames", "not self._ended()"),), more),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_an_attack_on_a_job_passes_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    attack = mutant.attack()
    with pytest.raises(VerificationError) as caught:
        attack()
    assert caught.value.step == mutant.step
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.edits)
        assert attack().rows >= 1
