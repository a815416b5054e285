"""GEMM jobs between two parties, for the tests of what passes and of what does not."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import VerificationError
from proofcompute.jobs import (
    MatrixId,
    ProductChallenge,
    ProductClaim,
    ProductKey,
    ProductProof,
    ProductReceipt,
    ProductRequest,
    ProductVerified,
    product_request,
    prove_product,
    verify_rows,
)
from proofcompute.jobs.arrays import flat
from proofcompute.jobs.claim import Received
from proofcompute.jobs.commitment import RowTree
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.protocol.frames import write_frames

DEVICE = "numpy"
KERNELS = kernels_for(DEVICE)
NODE = NodeIdentity(bytes(range(32)))
OTHER = NodeIdentity(bytes(range(1, 33)))


def factors(dtype: str = "int8", n: int = 9, d: int = 7, m: int = 5, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((d, m)).astype(dtype)
    low, high = max(np.iinfo(dtype).min, -(1 << 27)), min(np.iinfo(dtype).max, 1 << 27)
    return rng.integers(low, high, (n, d), dtype), rng.integers(low, high, (d, m), dtype)


@dataclass
class Job:
    a: Array
    b: Array
    request: ProductRequest
    proof: ProductProof

    @property
    def receipt(self) -> ProductReceipt:
        return self.proof.receipt


def run(dtype: str = "int8", suite: str = "sha256", node: bytes = b"") -> Job:
    a, b = factors(dtype)
    request = product_request(a, b, node=node, suite=suite, device=DEVICE)
    return Job(a, b, request, prove_product(request, a, b, NODE, device=DEVICE))


def recommitted(honest: Job, c: Array, a: Array | None = None) -> Job:
    """A node that signs another C (and opens another A), with trees that fit what it sends."""
    suite = honest.request.suite
    a = honest.a if a is None else a
    a_tree, tree = RowTree.of(flat(a), suite, KERNELS), RowTree.of(flat(c), suite, KERNELS)
    receipt = replace(honest.receipt, c=MatrixId.under(flat(c), tree))
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    return Job(a, honest.b, honest.request, ProductProof(honest.request, receipt, a, c, NODE, a_tree, tree))


def claim(j: Job) -> ProductClaim:
    """What a verifier draws rows from; of the receipt of a cheating node too, were it not looked at."""
    return ProductClaim(j.request, j.receipt, received=True)


def opened(j: Job, challenge: ProductChallenge | None = None) -> bytes:
    stream = io.BytesIO()
    j.proof.open_rows(challenge or claim(j).all_rows(4), stream)
    return stream.getvalue()


def closed(
    j: Job, challenge: ProductChallenge, frames: Sequence[bytes], identity: NodeIdentity | None = None
) -> bytes:
    """Whatever frames, closed as the opening of a challenge."""
    stream = io.BytesIO()
    write_frames(stream, frames, j.receipt, challenge.digest, identity or j.proof.identity)
    return stream.getvalue()


def frames_of(j: Job, challenge: ProductChallenge) -> list[bytes]:
    """The frames that open a challenge, whatever receipt it is for."""
    return [part.encode() for part in j.proof._parts(challenge.ranges)]


def audit(
    j: Job,
    *,
    b: ProductKey | AnyArray | None = None,
    request: ProductRequest | None = None,
    receipt: bytes | None = None,
    challenge: ProductChallenge | None = None,
    opening: bytes | None = None,
    c: Received | None = None,
    node: bytes | None = None,
) -> ProductVerified:
    challenge = challenge or claim(j).all_rows(4)
    data = closed(j, challenge, frames_of(j, challenge)) if opening is None else opening
    return verify_rows(
        j.b if b is None else b,
        request or j.request,
        j.receipt.encode() if receipt is None else receipt,
        challenge,
        io.BytesIO(data),
        c=j.proof.c if c is None else c,
        node=node,
        device=DEVICE,
    )


def step(f: Callable[[], object]) -> int:
    with pytest.raises(VerificationError) as caught:
        f()
    return caught.value.step
