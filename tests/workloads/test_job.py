"""GEMM jobs between parties: what an honest node does passes; a caller's own mistakes are told as such."""

from __future__ import annotations

import io

import numpy as np
import pytest

from proofcompute.errors import (
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
)
from proofcompute.workloads import (
    MatrixId,
    ProductChallenge,
    ProductKey,
    ProductReceipt,
    ProductRequest,
    job,
    matmul,
    product_request,
    prove_product,
    verify_rows,
)
from workloads.jobs import DEVICE, NODE, OTHER, Job, audit, factors, run


# -- honest ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suite", ["sha256", "keccak256", "blake3"])
def test_an_honest_job_passes(dtype: str, suite: str) -> None:
    j = run(dtype, suite, NODE.public)
    result = audit(j)
    assert (result.rows, result.total, result.complete) == (9, 9, True)
    assert (result.bound is None) == dtype.startswith("int")
    if result.bound is not None:
        assert result.bound.caught.shape == (9,)
    some = ProductChallenge(j.receipt.digest, ((0, 1), (3, 5), (8, 9)))
    result = audit(j, challenge=some)
    assert (result.rows, result.total, result.complete) == (4, 9, False)
    assert len(j.receipt.encode()) < 1024


def test_a_key_is_used_again_and_again() -> None:
    b = factors()[1]
    k = ProductKey(b, suite="sha256", device=DEVICE)
    for seed in range(3):
        other = factors(seed=seed)[0]
        request = product_request(other, b, device=DEVICE)
        c, proof = matmul(other, b, request=request, identity=NODE, device=DEVICE)
        np.testing.assert_array_equal(c, other.astype(np.int32) @ b.astype(np.int32))
        j = Job(other, b, request, proof)
        assert audit(j, b=k, node=NODE.public).rows == 9
    assert len(k.log.attempts) == 3  # one for each job, however many ranges it has


def test_matmul_alone_makes_a_whole_proof() -> None:
    a, b = factors("int16")
    c, proof = matmul(a, b, device=DEVICE)
    assert c is proof.c
    assert audit(Job(a, b, proof.request, proof)).complete
    again = matmul(a, b, device=DEVICE)[1]
    assert again.request.nonce != proof.request.nonce
    assert again.receipt.node != proof.receipt.node


def test_drawn_rows() -> None:
    j = run()
    seen = set()
    for _ in range(60):
        challenge = ProductChallenge.draw(j.receipt, 2)
        assert challenge.rows == 2
        assert audit(j, challenge=challenge).rows == 2
        seen |= {row for a, b in challenge.ranges for row in range(a, b)}
    assert seen == set(range(9))  # each row is missed with (7/9)^60 < 1e-6
    assert ProductChallenge.draw(j.receipt, 9).ranges == ((0, 9),)
    for count in (0, 10, -1):
        with pytest.raises(InputError, match="cannot be drawn"):
            ProductChallenge.draw(j.receipt, count)


# -- the caller's own mistakes ---------------------------------------------------------------------------
def test_the_node_runs_what_the_request_names() -> None:
    a, b = factors()
    request = product_request(a, b, node=NODE.public, device=DEVICE)
    with pytest.raises(MismatchError, match="A is not"):
        prove_product(request, a + 1, b, NODE, device=DEVICE)
    with pytest.raises(MismatchError, match="B is not"):
        prove_product(request, a, b + 1, NODE, device=DEVICE)
    with pytest.raises(MismatchError, match="another node"):
        prove_product(request, a, b, OTHER, device=DEVICE)


def test_the_verifier_uses_the_b_that_the_request_names() -> None:
    j = run()
    with pytest.raises(MismatchError, match="B is not"):
        audit(j, b=j.b + 1)
    for k in (
        ProductKey(j.b, device=DEVICE),
        ProductKey(j.b, suite="blake3", device=DEVICE),
        ProductKey(j.b + 1, suite="sha256", device=DEVICE),
        ProductKey(j.b, left="int16", suite="sha256", device=DEVICE),
        ProductKey(j.b, claim="int64", suite="sha256", device=DEVICE),
    ):
        with pytest.raises(MismatchError, match="key"):
            audit(j, b=k)
    with pytest.raises(InputError, match="own columns"):
        verify_rows(
            ProductKey(j.b, suite="sha256", device=DEVICE),
            j.request,
            j.receipt.encode(),
            ProductChallenge.all_rows(j.receipt),
            io.BytesIO(),
            columns=3,
            device=DEVICE,
        )


def test_products_without_a_result() -> None:
    with pytest.raises(InputError, match="nothing to commit"):
        product_request(np.zeros((0, 2), np.int8), np.zeros((2, 2), np.int8), device=DEVICE)
    big = np.full((2, 2), 3e38, np.float32)
    with pytest.raises(NonFiniteError, match="overflows"):
        matmul(big, big, device=DEVICE)
    with pytest.raises(InputError, match="A holds"):
        matmul(big * np.float32("nan"), big, device=DEVICE)
    wide = np.full((2, 2), 1 << 30, np.int32)
    with pytest.raises(LimitError, match="2\\^60"):
        matmul(wide, wide, device=DEVICE)


def test_a_range_is_no_larger_than_a_part() -> None:
    row = MatrixId("float64", 1 << 20, 1 << 20, bytes(32))
    request = ProductRequest(row, row, bytes(32))
    receipt = ProductReceipt("sha256", request.digest, row, NODE.public, bytes(64))
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    challenge = ProductChallenge(receipt.digest, ((0, 64),))
    with pytest.raises(LimitError, match="smaller ranges"):
        job._check_ranges(request, receipt, challenge)
