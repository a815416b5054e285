"""Checks matrix products for a fraction of their cost: `python examples/verify_gemm.py`.

It checks (1) one product of integers, exactly; (2) one of floats, with a stated bound; (3) a job between two
parties: a node returns C and a signed receipt, and the client, which projected the fixed B once, checks that
this is the C that was signed, and some of its rows.
"""

from __future__ import annotations

import io

import numpy as np

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import VerificationError
from proofcompute.jobs import (
    ProductKey,
    check_product_receipt,
    matmul,
    product_request,
    verify_product,
    verify_rows,
)

rng = np.random.default_rng(0)


def integers() -> None:
    a = rng.integers(-128, 128, (300, 500), dtype=np.int8)
    b = rng.integers(-128, 128, (500, 400), dtype=np.int8)
    c, _ = matmul(a, b)
    result = verify_product(a, b, c)
    print(f"int8: {result.rows} rows right over {result.arithmetic}, {result.soundness_bits:.0f} bits")

    c[123, 45] += 1
    try:
        verify_product(a, b, c)
    except VerificationError as e:
        print(f"int8: one element off by one: rejected ({e})")


def floats() -> None:
    a = rng.standard_normal((300, 500), dtype=np.float32)
    b = rng.standard_normal((500, 400), dtype=np.float32)
    c = a @ b
    # This machine sums in lanes and blocks, so a product passes fewer than 100 roundings.
    result = verify_product(a, b, c, roundings=100)
    assert result.bound is not None
    print(
        f"float32: accepted; an element off by more than {result.bound.smallest:.2g} "
        f"is missed with probability 2^-{result.columns}"
    )

    c[123, 45] += 1.1 * result.bound.smallest
    try:
        verify_product(a, b, c, roundings=100)
    except VerificationError as e:
        print(f"float32: an element off by a little more: rejected ({e})")


def job() -> None:
    a = rng.integers(-30000, 30000, (200, 500), dtype=np.int16)
    b = rng.integers(-30000, 30000, (500, 400), dtype=np.int16)
    node = NodeIdentity.new()

    # The client makes a secret key for B, once, and then a request for each A.
    key = ProductKey(b, suite="sha256")
    request = product_request(a, b, node=node.public)
    # The node sends C and a receipt of a few hundred bytes to the client.
    c, proof = matmul(a, b, request=request, identity=node)
    receipt = proof.receipt.encode()
    # The client checks that this C was signed, and draws rows, which the node opens.
    challenge = check_product_receipt(request, receipt, c).draw(20)
    opening = io.BytesIO()
    proof.open_rows(challenge, opening)
    size = opening.tell()
    opening.seek(0)
    result = verify_rows(key, request, receipt, challenge, opening, c=c)
    print(
        f"job: receipt of {len(receipt)} bytes, opening of {size}; "
        f"{result.rows} of {result.total} rows right over {result.arithmetic}, {c.dtype} results"
    )

    try:
        check_product_receipt(request, receipt, np.zeros_like(c))
    except VerificationError as e:
        print(f"job: zeros sent instead of the C that was signed: rejected (step {e.step})")


if __name__ == "__main__":
    integers()
    floats()
    job()
