"""A long receipt is hashed on two threads, and has the digests of one that is hashed at once."""

from __future__ import annotations

import pytest

import proofcompute as pc
from proofcompute.commitments.hashing import SUITES
from proofcompute.protocol.messages import Receipt
from proofcompute.protocol.messages.signed import _LONG


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", [0, 8, _LONG - 200, _LONG, _LONG + 1])
def test_digests_do_not_depend_on_the_length(suite: str, size: int) -> None:
    identity = pc.NodeIdentity(bytes(range(32)))
    made = Receipt(
        suite=suite,
        model_id=bytes(32),
        request_digest=bytes(32),
        outputs=(("y", bytes(i % 251 for i in range(size))),),
        rows=1,
        stop_reason="complete",
        trace_root=bytes(32),
        retention=60,
        node=identity.public,
    )
    plain = made.signed(identity.sign(made.signed_digest))
    found = made.signed_by(identity.sign)
    assert found == plain
    assert found.encode() == plain.encode()
    assert (found.signed_digest, found.digest) == (plain.signed_digest, plain.digest)
    assert Receipt.decode(found.encode()).digest == found.digest


def test_who_cannot_sign_makes_no_receipt() -> None:
    def refuse(digest: bytes) -> bytes:
        raise pc.StorageError("no key")

    made = Receipt(
        suite="sha256", model_id=bytes(32), request_digest=bytes(32), outputs=(("y", bytes(2 * _LONG)),),
        rows=1, stop_reason="complete", trace_root=bytes(32), retention=60, node=bytes(32),
    )  # fmt: skip
    with pytest.raises(pc.StorageError):
        made.signed_by(refuse)
