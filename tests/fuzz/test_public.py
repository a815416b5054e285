"""What makers of public proofs and keys send, against mutants: typed errors, or exactly these bytes."""

from __future__ import annotations

import io
from functools import cache
from random import Random
from typing import Any

import pytest

from fuzz.harness import drive, survives
from fuzz.mutate import mutant, mutate_bytes
from proofcompute.errors import VerificationError
from proofcompute.protocol.samples import Sample
from proofcompute.public.factor import PublicFactor
from proofcompute.public.key import PublicKey
from proofcompute.public.message import Evaluation
from proofcompute.public.proof import Proof, ProofHead, Shown
from public.test_products import published as factor
from public.world import POSITIONS, answered, proof, published, request, verified

KIND = "w8a16"


@cache
def proofs() -> tuple[bytes, ...]:
    return (proof(KIND), proof(KIND, answered(KIND, 0, 3), answered(KIND, 1, 2)))


def heads() -> list[bytes]:
    drawn = Shown(Sample(2, 3, 1), bytes(32), b"a beacon")
    return [ProofHead(bytes(32), 46, (drawn, Shown(5, bytes(32)), Shown(0, bytes(32)))).encode()]


@cache
def evaluations() -> tuple[bytes, ...]:
    found = Proof.read(io.BytesIO(proofs()[0]))
    return (found.evaluation.read(found.evaluation_size),)


def _evaluation(data: bytes) -> Evaluation:
    return Evaluation.decode(data, published(KIND).key.layout, 1, POSITIONS)


DECODED: dict[str, Any] = {
    "public key": (lambda: [published(KIND).key.encode()], PublicKey.decode, PublicKey.encode),
    "public factor": (
        lambda: [factor(kind).key.encode() for kind in ("one", "stack")],
        PublicFactor.decode,
        PublicFactor.encode,
    ),
    "public proof head": (heads, ProofHead.decode, ProofHead.encode),
    "evaluation": (evaluations, _evaluation, Evaluation.encode),
}


@pytest.mark.parametrize("name", DECODED)
def test_what_is_decoded(name: str) -> None:
    make, decode, encode = DECODED[name]
    for data in make():
        assert encode(decode(data)) == data
    drive(name, lambda rng: mutant(rng, make()), survives(decode, encode))


def test_whole_proofs() -> None:
    """A proof that was changed anywhere is rejected, whatever it says of itself."""

    def make(rng: Random) -> bytes:
        data: bytes = mutate_bytes(rng, rng.choice(proofs()), proofs())
        return data

    def check(data: bytes) -> None:
        if data in proofs():
            return
        try:
            found = verified(KIND, data, request(KIND), cells=1)
        except VerificationError:
            return
        # what is changed belongs to the other request, which nobody checks here
        assert found == verified(KIND, proofs()[1], request(KIND), cells=1)

    drive("coded proof", make, check)
