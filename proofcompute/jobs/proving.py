"""Makes a GEMM job's request (the client) and its product, commitment and receipt (the node).

The node returns C and a small signed receipt. The verifier asks for some or all rows of C, and checks them
against rows of A under the root that the client named, and against B through its key (:mod:`.verifying`).
For many A and one B, :func:`.job` does the same without taking and hashing B each time.
"""

from __future__ import annotations

import secrets
from typing import Any

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.jobs.arrays import FACTORS, shapes
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.exchange import kernels_of, take
from proofcompute.jobs.messages import ProductRequest
from proofcompute.jobs.proof import ProductProof
from proofcompute.jobs.resident import job
from proofcompute.protocol.messages.terms import Terms

__all__ = ["matmul", "product_request", "prove_product"]


def product_request(
    a: AnyArray,
    b: AnyArray,
    *,
    nonce: bytes | None = None,
    node: bytes = b"",
    suite: str = "sha256",
    device: str = "auto",
) -> ProductRequest:
    """Make the request for A B, A [.., n, d] and B [.., d, m], with a fresh nonce unless one is given.

    Raises InputError if types or shapes do not fit or a matrix is empty.
    """
    kernels = kernels_of(b, device)
    left, right = take(a, "A", FACTORS, kernels).array, take(b, "B", FACTORS, kernels).array
    stacks, *_ = shapes(left, right)
    fresh = secrets.token_bytes(32) if nonce is None else nonce
    a_named, b_named = MatrixId.of(left, suite, kernels), MatrixId.of(right, suite, kernels)
    return ProductRequest(a_named, b_named, fresh, node, suite, stacks)


def prove_product(
    request: ProductRequest,
    a: AnyArray,
    b: AnyArray,
    identity: NodeIdentity,
    *,
    c: AnyArray | None = None,
    check: bool | None = None,
    roundings: int | None = None,
    copy: bool = False,
    retention: int | None = None,
    terms: Terms | None = None,
    device: str = "auto",
) -> ProductProof:
    """Compute C = A B, or take the C that is given, commit to it, and sign.

    It is one call of a :func:`.job` for ``b``, with its arguments and errors (:meth:`.ProductJob.prove`).
    """
    with job(
        b, identity=identity, suite=request.suite, roundings=roundings, copy=copy, device=device
    ) as made:
        return made.prove(a, request=request, c=c, check=check, retention=retention, terms=terms)


def matmul(
    a: AnyArray,
    b: AnyArray,
    *,
    request: ProductRequest | None = None,
    identity: NodeIdentity | None = None,
    copy: bool = False,
    device: str = "auto",
) -> tuple[Any, ProductProof]:
    """Return C = A B and its proof; C is int32, int64 or of the factors' float type (``result_dtype``).

    A [.., n, d] and B [.., d, m] are of NumPy or any library with DLPack, and C is of A's. ``request`` is the
    client's request; without one, a request with a fresh nonce is made. ``identity`` is the node's signing
    key; without one a new key signs, which names nobody. Unless ``copy``, the proof shares memory with A and
    C, which must not be written to. Raises as :meth:`.ProductJob.prove`.
    """
    suite = "sha256" if request is None else request.suite
    with job(b, identity=identity, suite=suite, copy=copy, device=device) as made:
        return made.matmul(a, request=request)
