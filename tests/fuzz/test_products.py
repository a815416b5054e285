"""Messages of GEMM jobs against mutants, alone and through ``verify_rows``."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import synthetic
from fuzz.harness import attempt, drive, survives
from fuzz.mutate import mutant, mutate_bytes
from fuzz.test_verify import framed, mutated_opening
from proofcompute.arrays import Array
from proofcompute.errors import InputError, VerificationError
from proofcompute.freivalds.attempts import RECORD
from proofcompute.jobs.key import ProductKey
from proofcompute.jobs.messages import ProductChallenge, ProductReceipt, ProductRequest, RowsPart
from proofcompute.jobs.proof import ProductProof
from proofcompute.jobs.proving import product_request, prove_product
from proofcompute.jobs.result import ProductVerified
from proofcompute.jobs.verifying import verify_rows

DEVICE = "numpy"


@cache
def factors() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.integers(-128, 128, (9, 12), np.int8), rng.integers(-128, 128, (12, 7), np.int8)


@cache
def job(nonce: int = 1, node: bytes = synthetic.NODE.public) -> ProductProof:
    request = product_request(*factors(), nonce=bytes([nonce] * 32), node=node, device=DEVICE)
    return prove_product(request, *factors(), synthetic.NODE, device=DEVICE)


@cache
def challenge(nonce: int = 1) -> ProductChallenge:
    return ProductChallenge(job(nonce).receipt.digest, ((0, 2), (3, 4), (4, 9)))


@cache
def opening(nonce: int = 1) -> bytes:
    stream = io.BytesIO()
    job(nonce).open_rows(challenge(nonce), stream)
    return stream.getvalue()


def stacked() -> bytes:
    a, b = factors()
    request = product_request(np.stack([a, a]), b[None], nonce=bytes(32), device=DEVICE)
    return request.encode()


def part(data: bytes) -> RowsPart:
    return RowsPart.decode(data, job().request, job().receipt.c, 3, 4)


def a_part() -> bytes:
    proof = job()
    a, c = proof._a_tree.range_proof(3, 4), proof._c_tree.range_proof(3, 4)
    return RowsPart(proof.a[3:4].tobytes(), tuple(a), proof.c[3:4].tobytes(), tuple(c)).encode()


DECODERS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes], Any]]] = {
    "product request": (
        lambda: [job().request.encode(), job(2, b"").request.encode(), stacked()],
        ProductRequest.decode,
    ),
    "product receipt": (lambda: [job().receipt.encode(), job(2).receipt.encode()], ProductReceipt.decode),
    "product challenge": (lambda: [challenge().encode(), challenge(2).encode()], ProductChallenge.decode),
    "product part": (lambda: [a_part()], part),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_message(name: str) -> None:
    make, decode = DECODERS[name]
    for data in make():
        assert decode(data).encode() == data
    drive(name, lambda rng: mutant(rng, make()), survives(decode, lambda found: found.encode()))


def test_proof_files(tmp_path: Path) -> None:
    """A file is refused, or is the same proof: every byte of it is bound by a signature or a root."""
    path, again = tmp_path / "proof", tmp_path / "again"
    job().save(path)
    right = path.read_bytes()

    def whole() -> ProductProof:
        """Load the proof and open every row: what is on the disk is looked at when it is opened."""
        loaded = ProductProof.load(path, synthetic.NODE, device=DEVICE)
        loaded.open_rows(ProductChallenge(job().receipt.digest, ((0, 9),)), io.BytesIO())
        return loaded

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = attempt(whole, InputError)
        assert isinstance(found, InputError) == (data != right)
        if isinstance(found, ProductProof):
            found.save(again)
            assert again.read_bytes() == data

    check(right)
    drive("product proof", lambda rng: mutate_bytes(rng, right, []), check)


def signed_again(rng: Random) -> bytes:
    """Half of the receipts that still decode are signed again, as a cheating node would."""
    data = mutant(rng, [job().receipt.encode(), job(2).receipt.encode()])
    changed = attempt(lambda: ProductReceipt.decode(data), InputError)
    if isinstance(changed, InputError) or rng.random() < 0.5:
        return data
    return changed.signed(synthetic.NODE.sign(changed.signed_digest)).encode()


def test_mutated_receipts_and_openings_are_never_accepted() -> None:
    right = (job().receipt.encode(), opening())

    def make(rng: Random) -> tuple[bytes, bytes]:
        if rng.random() < 0.3:
            return signed_again(rng), right[1]
        return right[0], mutated_opening(rng, right[1], opening(2))

    def check(made: tuple[bytes, bytes]) -> None:
        receipt, stream = made
        result = attempt(
            lambda: verify_rows(
                factors()[1],
                job().request,
                receipt,
                challenge(),
                io.BytesIO(stream),
                c=job().c,
                device=DEVICE,
            ),
            VerificationError,
        )
        assert isinstance(result, ProductVerified) == (made == right)
        assert isinstance(result, ProductVerified) or 1 <= result.step <= 10

    check(right)
    check((right[0], framed([])))
    drive("product opening", make, check)


def test_key_files(tmp_path: Path) -> None:
    """A key that is read is the one that was written, with no more attempts than it had."""
    path = tmp_path / "key"
    key = ProductKey(factors()[1], suite="sha256", device=DEVICE)
    key.check(factors()[0], job().c)
    key.save(path)
    right = path.read_bytes()
    body = len(right) - RECORD

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = attempt(lambda: ProductKey.load(path, device=DEVICE), InputError)
        if isinstance(found, ProductKey):
            assert data[:body] == right[:body]
            assert len(found.log.attempts) <= 1
            assert found.check(factors()[0], job().c).complete

    check(right)
    drive("product key", lambda rng: mutate_bytes(rng, right, []), check)
