"""GEMM jobs between parties: commit, sign, open, check.

The node returns C and a small signed receipt; the verifier asks for some rows of C, or all, and checks them
against rows of A that lie under the root the client named, and against B through its key. The steps carry the
numbers of the verification of a model's run (design, section 7):

1. receipt and opening decode, versions and limits hold;
2. the node's key is the one addressed, and its signature holds;
3. B is the matrix that the request names;
4. the request digest is that of the request the verifier holds;
5. type and shape of C are those of the product;
6. the challenge belongs to this receipt, and its rows exist;
7. every opened row of A and of C is under its root;
8. the product check of those rows holds;
9. (nothing is recomputed and compared here);
10. every range asked for was opened and checked, and nothing else was sent.

What sampling can do is what it can do for a model's run: c of n rows catch one false row with probability c /
n, a false share f with at least 1 - (1 - f)^c.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from proofcompute import merkle, wire
from proofcompute.devices import kernels_for
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    VerificationError,
)
from proofcompute.kernels import Array, Kernels
from proofcompute.signing import NodeIdentity, signature_holds
from proofcompute.workloads.arrays import FLOATS, INTEGERS, matrix, shapes
from proofcompute.workloads.commitment import (
    MatrixId,
    leaf_rows,
    matrix_tree,
    rows_from_leaves,
    rows_leaves,
)
from proofcompute.workloads.exact import multiply
from proofcompute.workloads.floating import FloatBound
from proofcompute.workloads.key import Checker, ProductKey, checker, evidence
from proofcompute.workloads.messages import (
    MAX_PART,
    ProductChallenge,
    ProductReceipt,
    ProductRequest,
    RowsPart,
)
from proofcompute.workloads.result import ProductVerified

__all__ = ["ProductProof", "matmul", "product_request", "prove_product", "verify_rows"]


def product_request(
    a: Array,
    b: Array,
    *,
    nonce: bytes | None = None,
    node: bytes = b"",
    suite: str = "sha256",
    device: str = "auto",
) -> ProductRequest:
    """The request for A B, A [n, d] and B [d, m], with a fresh nonce unless one is given.

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


# -- the node --------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ProductProof:
    """What a node keeps of a job: the receipt for the client, and what it takes to open rows."""

    request: ProductRequest
    receipt: ProductReceipt
    a: Array
    c: Array
    _a_tree: merkle.Tree = field(repr=False)
    _c_tree: merkle.Tree = field(repr=False)

    def open_rows(self, challenge: ProductChallenge, stream: BinaryIO) -> None:
        """Write the opening of a challenge, one frame for each range.

        MismatchError if it is for another receipt, FormatError if it asks for rows that do not exist,
        LimitError if one range is larger than a part of an opening may be.
        """
        _check_ranges(self.request, self.receipt, challenge)
        for first, end in challenge.ranges:
            part = RowsPart(
                leaf_rows(self.a[first:end]).tobytes(),
                tuple(self._a_tree.range_proof(first, end)),
                leaf_rows(self.c[first:end]).tobytes(),
                tuple(self._c_tree.range_proof(first, end)),
            )
            wire.write_frame(stream, part.encode())


def prove_product(
    request: ProductRequest, a: Array, b: Array, identity: NodeIdentity, *, device: str = "auto"
) -> ProductProof:
    """Compute C = A B, commit to it, and sign.

    Integers are multiplied exactly. Floats are multiplied by NumPy in their own precision.

    Raises MismatchError if A or B is not the one in the request or another node is addressed, InputError as
    :func:`verify_product`, NonFiniteError if a float product overflows.
    """
    kernels = kernels_for(device)
    a, b = _factors(a, b)
    if request.node and request.node != identity.public:
        raise MismatchError("the request addresses another node")
    a_tree = _named(a, "A", request.a, request.suite, kernels)
    _named(b, "B", request.b, request.suite, kernels)
    c = _product(a, b, kernels)
    c_tree = matrix_tree(c, request.suite, kernels)
    receipt = ProductReceipt(
        suite=request.suite,
        request_digest=request.digest,
        c=MatrixId.under(c, c_tree),
        node=identity.public,
        signature=bytes(64),
    )
    receipt = receipt.signed(identity.sign(receipt.signed_digest))
    return ProductProof(request, receipt, a, c, a_tree, c_tree)


def _named(x: Array, what: str, wanted: MatrixId, suite: str, kernels: Kernels) -> merkle.Tree:
    tree = matrix_tree(x, suite, kernels)
    if MatrixId.under(x, tree) != wanted:
        raise MismatchError(f"{what} is not the matrix that the request names")
    return tree


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
    """C = A B and the proof that goes with it; C is int32, int64 or of the floats' type (``result_dtype``).

    ``request`` is the client's; without one a request with a fresh nonce is made up. ``identity`` is the
    node's; without one a new key signs, which says nothing about who did. Raises as :func:`prove_product`.
    """
    proof = prove_product(
        request or product_request(a, b, device=device),
        a,
        b,
        identity or NodeIdentity.new(),
        device=device,
    )
    return proof.c, proof


# -- the verifier ----------------------------------------------------------------------------------------
def verify_rows(
    b: ProductKey | Array,
    request: ProductRequest,
    receipt: bytes,
    challenge: ProductChallenge,
    opening: BinaryIO,
    *,
    node: bytes | None = None,
    columns: int | None = None,
    roundings: int | None = None,
    device: str = "auto",
) -> ProductVerified:
    """Check opened rows of an untrusted node's product (the steps in this module's text).

    Args:
        b: B itself, or a key made from it with the request's hash suite (integers only).
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        challenge: the verifier's own challenge, drawn after the receipt.
        opening: the node's opening; read frame by frame.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        columns: k where ``b`` is a matrix; a key has its own.
        roundings: for floats, as in :func:`verify_product`.
        device: backend.

    Raises:
        VerificationError: receipt or opening fail a step.
        InputError: the verifier's own B, request and challenge do not belong together.
    """
    kernels = kernels_for(device)
    used = _checker(b, request, columns, roundings, device, kernels)  # 3
    claim = _check_receipt(request, receipt, node)
    try:
        _check_ranges(request, claim, challenge)
    except MismatchError as e:
        raise VerificationError(6, str(e)) from e
    used.log.attempt(request.nonce, request.digest)
    bounds: list[FloatBound] = []
    for first, end in challenge.ranges:
        a, c = _read_rows(request, claim, first, end, opening, kernels)
        bound = used.test(a, c)  # 8
        if bound is not None:
            bounds.append(bound)
    if opening.read(1):
        raise VerificationError(10, "the opening holds more than was asked for")
    return evidence(used, challenge.rows, claim.c.rows, bounds)


def _checker(
    b: ProductKey | Array,
    request: ProductRequest,
    columns: int | None,
    roundings: int | None,
    device: str,
    kernels: Kernels,
) -> Checker:
    wanted = request.shape[0]
    if isinstance(b, ProductKey):
        if columns is not None or roundings is not None:
            raise InputError("a key has its own columns, and is for integers")
        if b.identity != request.b or b.dtypes != (request.a.dtype, request.b.dtype, wanted):
            raise MismatchError("the key was not made for such a product with this B and this hash suite")
        return b
    b = matrix(b, "B", (*INTEGERS, *FLOATS))
    _named(b, "B", request.b, request.suite, kernels)
    return checker(b, request.a.dtype, wanted, columns=columns, roundings=roundings, seed=None, device=device)


def _check_receipt(request: ProductRequest, data: bytes, node: bytes | None) -> ProductReceipt:
    """Steps 1, 2, 4 and 5."""
    try:
        receipt = ProductReceipt.decode(data)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    for key in (node, request.node or None):
        if key is not None and key != receipt.node:
            raise VerificationError(2, "signed by another node", expected=key.hex(), found=receipt.node.hex())
    if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):
        raise VerificationError(2, "the node's signature does not hold")
    if receipt.suite != request.suite:
        raise VerificationError(4, "another hash suite", expected=request.suite, found=receipt.suite)
    if receipt.request_digest != request.digest:
        raise VerificationError(
            4, "another request", expected=request.digest.hex(), found=receipt.request_digest.hex()
        )
    found = (receipt.c.dtype, receipt.c.rows, receipt.c.width)
    if found != request.shape:
        raise VerificationError(5, "wrong type or shape of C", expected=request.shape, found=found)
    return receipt


def _check_ranges(request: ProductRequest, receipt: ProductReceipt, challenge: ProductChallenge) -> None:
    if challenge.receipt_digest != receipt.digest:
        raise MismatchError("the challenge is for another receipt")
    for first, end in challenge.ranges:
        if end > receipt.c.rows:
            raise FormatError(f"the challenge asks for row {end - 1}; C has {receipt.c.rows} rows")
        if (end - first) * (request.a.row_bytes + receipt.c.row_bytes) > MAX_PART:
            raise LimitError(f"rows {first}..{end} are more than {MAX_PART} bytes; ask for smaller ranges")


def _read_rows(
    request: ProductRequest,
    receipt: ProductReceipt,
    first: int,
    end: int,
    stream: BinaryIO,
    kernels: Kernels,
) -> tuple[Array, Array]:
    """Steps 1, 7 and 10 of one range: rows of A and of C that lie under their roots."""
    limit = RowsPart.most(request.a, receipt.c, first, end)
    try:
        data = wire.read_frame(stream, limit=limit, what="opening")
        if data is None:
            raise VerificationError(10, f"the opening lacks rows {first}..{end}")
        part = RowsPart.decode(data, request.a, receipt.c, first, end)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, f"rows {first}..{end}: {e}") from e
    a = _under(request.a, "A", request.suite, first, end, part.a, part.a_proof, kernels)
    return a, _under(receipt.c, "C", request.suite, first, end, part.c, part.c_proof, kernels)


def _under(
    of: MatrixId,
    what: str,
    suite: str,
    first: int,
    end: int,
    data: bytes,
    proof: tuple[bytes, ...],
    kernels: Kernels,
) -> Array:
    """Step 7 for the rows of one matrix."""
    rows = np.frombuffer(data, np.uint8).reshape(end - first, of.row_bytes)
    leaves = rows_leaves(suite, of.dtype, rows, kernels)
    root = merkle.root_from_range(suite, of.rows, first, end, leaves, proof, kernels.hash_rows)
    if root != of.root:
        raise VerificationError(7, f"rows {first}..{end} of {what} are not under its root")
    return rows_from_leaves(data, of.dtype, end - first, of.width)
