"""Files of GEMM jobs that the commands ``job ...`` read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proofcompute.cli.files import read_received, read_terms
from proofcompute.cli.kinds import expect
from proofcompute.encoding.kinds import kind_in, kind_of
from proofcompute.errors import VerificationError, about

if TYPE_CHECKING:
    from proofcompute.arrays import Array
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.jobs import ProductChallenge, ProductKey, ProductRequest
    from proofcompute.protocol.messages import Terms

__all__ = [
    "array",
    "held_in",
    "identity_in",
    "own_terms",
    "product_challenge_in",
    "product_receipt_in",
    "product_request_in",
]


def array(path: Path) -> Array:
    """Map the array in an .npy file."""
    from proofcompute.encoding.npy import map_npy

    expect(path, "npy")
    return map_npy(path)


def product_request_in(path: Path) -> ProductRequest:
    """Read one's own request."""
    from proofcompute.encoding.files import read_limited
    from proofcompute.jobs import ProductRequest
    from proofcompute.jobs.messages import MAX_MESSAGE

    expect(path, "product request")
    return ProductRequest.decode(read_limited(path, MAX_MESSAGE, "product request"))


def product_receipt_in(path: Path, request: ProductRequest) -> bytes:
    """Read the bytes of a node's receipt; what is wrong with them is the node's fault (step 1)."""
    from proofcompute.jobs.messages import MAX_MESSAGE

    with about(request_digest=request.digest):
        data = read_received(path, MAX_MESSAGE, "product receipt")
        found = kind_in(data)
        if found not in (None, "product receipt"):
            raise VerificationError(1, f"{path} is of kind {found}; if you mixed up files, give the receipt")
    return data


def product_challenge_in(path: Path) -> ProductChallenge:
    """Read a challenge."""
    from proofcompute.encoding.files import read_limited
    from proofcompute.jobs import ProductChallenge
    from proofcompute.limits import MAX_CHALLENGE

    expect(path, "product challenge")
    return ProductChallenge.decode(read_limited(path, MAX_CHALLENGE, "product challenge"))


def identity_in(path: Path) -> NodeIdentity:
    """Read a node's key pair."""
    from proofcompute.commitments.signing import NodeIdentity

    expect(path, "identity")
    return NodeIdentity.load(path)


def held_in(path: Path, device: str) -> ProductKey | Array:
    """Load a key, or map the right factor."""
    from proofcompute.jobs import ProductKey

    if kind_of(path) == "npy":
        return array(path)
    expect(path, "product key")
    return ProductKey.load(path, device=device)


def own_terms(path: Path) -> Terms:
    """Read terms of one's own."""
    from proofcompute.protocol.messages import Terms

    expect(path, "terms")
    return Terms.decode(read_terms(path))
