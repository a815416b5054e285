"""Makes a GEMM job's request (the client) and its product, commitment and receipt (the node).

The node returns C and a small signed receipt. The verifier asks for some or all rows of C, and checks them
against rows of A under the root that the client named, and against B through its key (:mod:`.verifying`).
"""

from __future__ import annotations

import secrets

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, NonFiniteError
from proofcompute.jobs.arrays import FLOATS, INTEGERS, matrix, shapes
from proofcompute.jobs.commitment import MatrixId, matrix_tree, named_tree
from proofcompute.jobs.exact import multiply
from proofcompute.jobs.messages import ProductReceipt, ProductRequest
from proofcompute.jobs.proof import ProductProof
from proofcompute.protocol.messages.terms import Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.protocol.receipts import require_addressed

__all__ = ["matmul", "product_request", "prove_product"]


def product_request(
    a: Array,
    b: Array,
    *,
    nonce: bytes | None = None,
    node: bytes = b"",
    suite: str = "sha256",
    device: str = "auto",
) -> ProductRequest:
    """Make the request for A B, A [n, d] and B [d, m], with a fresh nonce unless one is given.

    Raises InputError if types or shapes do not fit or a matrix is empty.
    """
    kernels = kernels_for(device)
    a, b = _factors(a, b)
    fresh = secrets.token_bytes(32) if nonce is None else nonce
    return ProductRequest(MatrixId.of(a, suite, kernels), MatrixId.of(b, suite, kernels), fresh, node, suite)


def _factors(a: Array, b: Array) -> tuple[Array, Array]:
    a, b = matrix(a, "A", (*INTEGERS, *FLOATS)), matrix(b, "B", (*INTEGERS, *FLOATS))
    shapes(a, b)
    return a, b


def prove_product(
    request: ProductRequest,
    a: Array,
    b: Array,
    identity: NodeIdentity,
    *,
    c: Array | None = None,
    retention: int | None = None,
    terms: Terms | None = None,
    device: str = "auto",
) -> ProductProof:
    """Compute C = A B, commit to it, and sign.

    Integers are multiplied exactly. Floats are multiplied by NumPy in their own precision.

    Args:
        request: the client's request.
        a: A [n, d].
        b: B [d, m].
        identity: the node's signing key.
        c: the product [n, m], if it was computed elsewhere, of the type in :attr:`ProductRequest.shape`;
            convert an array of CuPy or another library to NumPy. **It is not checked**: a C that is not the
            product, or for floats too far from it, will be rejected with the node's signature under it
            (check it with :func:`verify_product` first).
        retention: seconds for which challenges are answered; by default those of the terms, or a week.
        terms: the node's terms, if it has any.
        device: the backend.

    Raises MismatchError if A or B is not the one in the request or another node is addressed; InputError as
    :func:`verify_product`, or if ``c`` has another type or shape, or the terms are another node's or promise
    a longer retention; NonFiniteError if a float product overflows.
    """
    require_addressed(request, identity.public)
    kept = retention_of(identity.public, terms, retention)
    kernels = kernels_for(device)
    a, b = _factors(a, b)
    a_tree = named_tree(a, "A", request.a, request.suite, kernels)
    named_tree(b, "B", request.b, request.suite, kernels)
    c = _product(a, b, kernels) if c is None else _given(c, request)
    c_tree = matrix_tree(c, request.suite, kernels)
    receipt = ProductReceipt(
        suite=request.suite,
        request_digest=request.digest,
        c=MatrixId.under(c, c_tree),
        terms_digest=terms.digest if terms is not None else b"",
        retention=kept,
        node=identity.public,
    )
    receipt = receipt.signed(identity.sign(receipt.signed_digest))
    return ProductProof(request, receipt, a, c, identity, a_tree, c_tree)


def _given(c: Array, request: ProductRequest) -> Array:
    dtype, n, m = request.shape
    c = matrix(c, "C", (dtype,))
    if c.shape != (n, m):
        raise InputError(f"C {list(c.shape)} is not of the shape [{n}, {m}] of the product")
    if not np.isfinite(c).all():
        raise NonFiniteError("C holds a number that is not finite")
    return c


def _product(a: Array, b: Array, kernels: Kernels) -> Array:
    if a.dtype.name in INTEGERS and b.dtype.name in INTEGERS:
        return multiply(a, b, kernels)
    for what, x in (("A", a), ("B", b)):
        if not np.isfinite(x).all():
            raise InputError(f"{what} holds a number that is not finite")
    with np.errstate(over="ignore", invalid="ignore"):
        c: Array = a @ b
    if not np.isfinite(c).all():
        raise NonFiniteError("the product overflows; scale the factors down or use float64")
    return c


def matmul(
    a: Array,
    b: Array,
    *,
    request: ProductRequest | None = None,
    identity: NodeIdentity | None = None,
    device: str = "auto",
) -> tuple[Array, ProductProof]:
    """Return C = A B and its proof; C is int32, int64 or of the factors' float type (``result_dtype``).

    ``request`` is the client's request; without one, a request with a fresh nonce is made. ``identity`` is
    the node's signing key; without one a new key signs, which names nobody. Raises as :func:`prove_product`.
    """
    proof = prove_product(
        request or product_request(a, b, device=device),
        a,
        b,
        identity or NodeIdentity.new(),
        device=device,
    )
    return proof.c, proof
