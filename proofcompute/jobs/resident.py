"""Keeps a right factor B and its commitment for GEMM jobs with many A: :func:`job`.

A job with B costs what is asked for: hashing A, the product, and hashing C. B is taken, hashed and, where the
backend reads it in another order, turned once. See docs/guides/gemm-jobs.md.
"""

from __future__ import annotations

import secrets
from threading import RLock
from types import TracebackType
from typing import Any, final

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, MismatchError, NonFiniteError, VerificationError
from proofcompute.jobs.arrays import FACTORS, FLOATS, flat, result_dtype, shapes
from proofcompute.jobs.commitment import MatrixId, RowTree
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.exchange import Taken, kernels_of, take
from proofcompute.jobs.factor import RightFactor, all_finite
from proofcompute.jobs.floating import FloatCheck
from proofcompute.jobs.key import every_member
from proofcompute.jobs.messages import ProductReceipt, ProductRequest
from proofcompute.jobs.projection import Projection, Types
from proofcompute.jobs.proof import ProductProof
from proofcompute.jobs.stacks import Stacks
from proofcompute.protocol.messages.terms import Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.protocol.receipts import require_addressed

__all__ = ["ProductJob", "job"]


def job(
    b: AnyArray,
    *,
    identity: NodeIdentity | None = None,
    suite: str = "sha256",
    columns: int | None = None,
    roundings: int | None = None,
    copy: bool = False,
    device: str = "auto",
) -> ProductJob:
    """Keep B for products with many A: take it, and hash it, once.

    Args:
        b: B [d, m] or a stack [.., d, m]: int8, int16, int32, float32 or float64; of NumPy or any library
            with DLPack. Memory that the backend can read is shared and not copied, so it must not change
            until the job is closed.
        identity: the node's signing key; without one a new key signs, which names nobody.
        suite: the hash suite of requests.
        columns: k of a check before signing: 1 to 8 for integers, 1 to 256 for floats
            (:func:`proofcompute.verify_product`).
        roundings: for floats, what such a check allows.
        copy: whether B, and the A and C of each proof, are copied, so that their memory may be written to.
        device: the backend; "auto" is the CUDA device on which B lies, if it lies on one.

    Returns:
        The job, a context manager.

    Raises InputError for a B that cannot be used.
    """
    return ProductJob(
        b,
        identity=identity,
        suite=suite,
        columns=columns,
        roundings=roundings,
        copy=copy,
        device=device,
    )


@final
class ProductJob:
    """A right factor B that stays where it is for products with many A. Made by :func:`job`.

    It keeps B, B transposed if it is int8 and was multiplied by, and secret columns of a few percent of B if
    a product was checked; nothing grows with the number of calls. Proofs keep their A and C themselves and
    outlive the job. Calls from several threads run one after the other. On a CUDA device nothing else may use
    the backend meanwhile.
    """

    def __init__(
        self,
        b: AnyArray,
        *,
        identity: NodeIdentity | None,
        suite: str,
        columns: int | None,
        roundings: int | None,
        copy: bool,
        device: str,
    ) -> None:
        kernels = kernels_of(b, device)
        taken = take(b, "B", FACTORS, kernels)
        if copy:
            taken = taken.copied(kernels)
        self.b = MatrixId.of(taken.array, suite, kernels)
        """The commitment to B, by which requests name it."""
        self.lead = tuple(map(int, taken.array.shape[:-2]))
        """The leading axes of B, if it is a stack."""
        self.suite = suite
        """The hash suite."""
        self.identity = identity or NodeIdentity.new()
        """The key that signs."""
        self._kernels, self._copy = kernels, copy
        self._k, self._roundings = columns, roundings
        self._lock = RLock()
        self._kept: tuple[Taken, RightFactor] | None = (taken, RightFactor(taken, kernels))
        self._columns: dict[str, Projection] = {}

    def __repr__(self) -> str:
        state = "" if self._kept is not None else ", closed"
        return f"ProductJob({self.b.dtype} {[self.b.rows, self.b.width]}{state})"

    def __enter__(self) -> ProductJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of B and of the secret columns. Closing again does nothing."""
        with self._lock:
            self._kept = None
            self._columns.clear()

    def request(self, a: AnyArray, *, nonce: bytes | None = None, node: bytes = b"") -> ProductRequest:
        """Make the request for A B with a fresh nonce, hashing A only.

        Args:
            a: A [n, d] or a stack [.., n, d].
            nonce: 32 bytes that were never used before; fresh ones by default.
            node: public key of the node that is addressed; empty for any.

        Raises InputError if A does not fit, or the job is closed.
        """
        with self._lock:
            taken, stacks, tree = self._left(a)
            return self._asked(taken, stacks, tree, nonce, node)

    def matmul(
        self,
        a: AnyArray,
        *,
        request: ProductRequest | None = None,
        check: bool = False,
        retention: int | None = None,
        terms: Terms | None = None,
    ) -> tuple[Any, ProductProof]:
        """Return C = A B as an array of A's library, where A lies, and its proof.

        Arguments and errors are those of :meth:`prove`. Unless the job copies, C shares its memory with the
        proof where it can.
        """
        with self._lock:
            proof, made, left = self._prove(a, request, None, check, retention, terms)
            if made.library == left.library:
                return made.original, proof
            return left.library.give(made.array, self._kernels), proof

    def prove(
        self,
        a: AnyArray,
        *,
        request: ProductRequest | None = None,
        c: AnyArray | None = None,
        check: bool | None = None,
        retention: int | None = None,
        terms: Terms | None = None,
    ) -> ProductProof:
        """Compute C = A B or take the C that is given, commit to it, and sign.

        Integers are multiplied exactly, floats by NumPy or the library whose arrays lie on the device.

        Args:
            a: A [n, d] or a stack [.., n, d]. Leading axes broadcast as those of ``numpy.matmul``. Unless the
                job copies, neither A nor C may be written to before the proof is dropped or saved: opening
                notices it, and the node owes an opening that it cannot give.
            request: the client's request; without one a request with a fresh nonce is made.
            c: the product [.., n, m], if it was computed elsewhere, of the type in
                :attr:`ProductRequest.shape`.
            check: whether C is checked with secret columns before anything is signed; by default if it is
                given. Integers cost n (d + m) k; floats k (n d + d m + n m), since their columns cannot be
                used twice, with k = 40 unless the job says otherwise. If False, **a C that is not the product
                will be rejected with the node's signature under it**.
            retention: seconds for which challenges are answered; by default those of the terms, or a week.
            terms: the node's terms, if it has any.

        Raises MismatchError if A or B is not the one in the request, another node is addressed or C is not
        the product; InputError as :func:`proofcompute.verify_product`, if ``c`` has another type or shape,
        the terms are another node's or promise a longer retention, or the job is closed; NonFiniteError if a
        float product overflows or is not finite.
        """
        with self._lock:
            return self._prove(a, request, c, check, retention, terms)[0]

    def _prove(
        self,
        a: AnyArray,
        request: ProductRequest | None = None,
        c: AnyArray | None = None,
        check: bool | None = None,
        retention: int | None = None,
        terms: Terms | None = None,
    ) -> tuple[ProductProof, Taken, Taken]:
        """Return the proof, C and A."""
        identity, kernels = self.identity, self._kernels
        if request is not None:
            require_addressed(request, identity.public)
        kept = retention_of(identity.public, terms, retention)
        left, stacks, tree = self._left(a, request, copy=self._copy)
        if request is None:
            request = self._asked(left, stacks, tree, None, b"")
        made = self._factor.times(left, stacks) if c is None else self._given(c, request, left)
        if check if check is not None else c is not None:
            self._check(stacks, left, made)
        kept_c = made.array.copy() if self._copy and c is None else made.array  # the caller gets the other
        rows = flat(kept_c)
        c_tree = RowTree.of(rows, self.suite, kernels)
        receipt = ProductReceipt(
            suite=self.suite,
            request_digest=request.digest,
            c=MatrixId.under(rows, c_tree),
            terms_digest=terms.digest if terms is not None else b"",
            retention=kept,
            node=identity.public,
        )
        receipt = receipt.signed(identity.sign(receipt.signed_digest))
        return ProductProof(request, receipt, left.array, kept_c, identity, tree, c_tree), made, left

    # -- the factors -----------------------------------------------------------------------------------------
    @property
    def _right(self) -> Taken:
        return self._open()[0]

    @property
    def _factor(self) -> RightFactor:
        return self._open()[1]

    def _open(self) -> tuple[Taken, RightFactor]:
        if self._kept is None:
            raise InputError("the job is closed; make a new one")
        return self._kept

    def _left(
        self, a: AnyArray, request: ProductRequest | None = None, *, copy: bool = False
    ) -> tuple[Taken, Stacks, RowTree]:
        """Take and hash A; check that A and B are those of the request."""
        right = self._right
        taken = take(a, "A", FACTORS, self._kernels)
        if copy:  # before it is hashed, so that what is hashed is what is multiplied and opened
            taken = taken.copied(self._kernels)
        stacks, _, d, _ = shapes(taken.array, right.array)
        result_dtype(taken.array.dtype.name, right.array.dtype.name, d)
        if request is not None and request.suite != self.suite:
            raise MismatchError(f"the request is in hash suite {request.suite}, the job in {self.suite}")
        rows = flat(taken.array)
        tree = RowTree.of(rows, self.suite, self._kernels)
        if request is not None:
            if MatrixId.under(rows, tree) != request.a or stacks.a != request.stacks.a:
                raise MismatchError("A is not the matrix that was named")
            if self.b != request.b or stacks.b != request.stacks.b:
                raise MismatchError("B is not the matrix that was named")
        return taken, stacks, tree

    def _asked(
        self, a: Taken, stacks: Stacks, tree: RowTree, nonce: bytes | None, node: bytes
    ) -> ProductRequest:
        named = MatrixId.under(flat(a.array), tree)
        fresh = secrets.token_bytes(32) if nonce is None else nonce
        return ProductRequest(named, self.b, fresh, node, self.suite, stacks)

    def _given(self, c: AnyArray, request: ProductRequest, left: Taken) -> Taken:
        dtype, _, m = request.shape
        taken = take(c, "C", (dtype,), self._kernels)
        shape = (*request.stacks.lead, left.array.shape[-2], m)
        if tuple(taken.array.shape) != shape:
            raise InputError(f"C {list(taken.array.shape)} is not of the shape {list(shape)} of the product")
        if dtype in FLOATS and not all_finite(taken):
            raise NonFiniteError("C holds a number that is not finite")
        return taken.copied(self._kernels) if self._copy else taken  # before it is checked

    def _check(self, stacks: Stacks, a: Taken, c: Taken) -> None:
        """Check a product before it is signed. Raises MismatchError if it is none."""
        kernels, b = self._kernels, self._right.array
        try:
            if b.dtype.name in FLOATS:
                rows = [x.on_host(kernels) for x in (a, c)]
                right = self._right.on_host(kernels)
                every_member(FloatCheck(right, self._k, self._roundings), stacks, *rows)
            else:
                every_member(self._projected(a.array.dtype.name), stacks, a.array, c.array)
        except VerificationError as e:
            raise MismatchError(f"nothing was signed: {e.reason}") from e

    def _projected(self, left: str) -> Projection:
        """Return secret columns for products with A of a type, made when they are first needed."""
        b = self._right.array
        if left not in self._columns:
            types = Types(b.dtype.name, b.shape[-2], left, columns=self._k)
            self._columns[left] = Projection.of(b, types, self._kernels)
        return self._columns[left]
