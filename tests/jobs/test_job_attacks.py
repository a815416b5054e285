"""GEMM jobs between parties: what a dishonest node tries does not pass."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from jobs.cases import (
    DEVICE,
    KERNELS,
    NODE,
    OTHER,
    Job,
    audit,
    claim,
    closed,
    factors,
    frames_of,
    opened,
    recommitted,
    run,
    step,
)
from proofcompute.arrays import Array
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import FormatError, InputError, MismatchError, VerificationError
from proofcompute.freivalds.field import P61
from proofcompute.jobs import (
    NOT_RECEIVED,
    MatrixId,
    ProductChallenge,
    check_product_receipt,
    matmul,
    product_request,
    verify_rows,
)
from proofcompute.jobs.messages import RowsPart


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float64"])
def test_a_wrong_element_that_is_committed_and_signed_is_caught(dtype: str) -> None:
    honest = run(dtype)
    for row in (0, 4, 8):
        c = honest.proof.c.copy()
        c[row, 2] += 1
        liar = recommitted(honest, c)
        assert step(lambda j=liar: audit(j)) == 8  # type: ignore[misc]
        elsewhere = tuple((r, r + 1) for r in range(9) if r != row)
        assert audit(liar, challenge=ProductChallenge(liar.receipt.digest, elsewhere)).rows == 8


def test_a_product_with_other_factors_is_caught() -> None:
    honest = run()
    other_a, other_b = factors(seed=5)
    for c in (honest.a @ other_b, other_a @ honest.b, np.zeros((9, 5)), honest.proof.c[::-1]):
        assert step(lambda c=c: audit(recommitted(honest, c.astype(np.int32)))) == 8  # type: ignore[misc]


def test_another_a_that_fits_the_wrong_c_is_not_under_the_root_in_the_request() -> None:
    honest = run()
    other = factors(seed=5)[0]
    liar = recommitted(honest, matmul(other, honest.b, device=DEVICE)[0], a=other)
    assert step(lambda: audit(liar)) == 7


def test_a_claim_that_is_right_modulo_p_is_out_of_range() -> None:
    honest = run("int16")
    c = honest.proof.c.copy()
    c[1, 1] += P61
    assert step(lambda: audit(recommitted(honest, c))) == 8


# -- the C that was received -----------------------------------------------------------------------------
SENT: dict[str, Callable[[Array], Array]] = {
    "zeros": np.zeros_like,
    "one element": lambda c: c + (np.arange(c.size).reshape(c.shape) == 7).astype(c.dtype),
    "rows in another order": lambda c: c[::-1],
    "a row less": lambda c: c[:-1],
    "a row more": lambda c: np.concatenate([c, c[:1]]),
    "transposed": lambda c: c.T,
    "flat": lambda c: c.reshape(-1),
    "nothing": lambda c: c[:0],
    "another type": lambda c: c.astype(np.float32),
    "a type that is no product's": lambda c: c.astype(np.uint8),
}


@pytest.mark.parametrize("name", SENT)
def test_a_node_that_commits_to_the_right_c_and_sends_another_is_caught(name: str) -> None:
    """Every row it opens is right, and it is not what anybody has."""
    j = run()
    sent = SENT[name](j.proof.c)
    assert step(lambda: audit(j, c=sent)) == 5
    some = ProductChallenge(j.receipt.digest, ((0, 1),))
    assert step(lambda: audit(j, c=sent, challenge=some)) == 5
    with pytest.raises(VerificationError, match="received"):
        check_product_receipt(j.request, j.receipt.encode(), sent, device=DEVICE)


def test_what_is_bound_is_said() -> None:
    j = run()
    received = MatrixId.of(j.proof.c.copy(), j.request.suite, KERNELS)
    assert audit(j).received
    assert audit(j, c=received).received
    assert not audit(j, c=NOT_RECEIVED).received
    assert step(lambda: audit(j, c=replace(received, root=bytes(32)))) == 5
    for wrong in (None, j.proof.c.tolist(), b"", np.ma.masked_array(j.proof.c)):
        with pytest.raises(InputError, match="NumPy array that was received"):
            check_product_receipt(j.request, j.receipt.encode(), wrong, device=DEVICE)  # type: ignore[arg-type]


def test_only_what_was_addressed_and_signed_counts() -> None:
    j = run(node=NODE.public)
    forged = replace(j.receipt, node=OTHER.public)
    assert step(lambda: audit(j, receipt=forged.encode())) == 2
    by_other = forged.signed(OTHER.sign(forged.signed_digest))
    assert step(lambda: audit(j, receipt=by_other.encode())) == 2
    assert step(lambda: audit(run(), node=OTHER.public)) == 2  # a request that names nobody
    bad = j.receipt.signed(bytes(64))
    assert step(lambda: audit(j, receipt=bad.encode())) == 2
    # a field changed after signing
    moved = replace(j.receipt, c=replace(j.receipt.c, root=bytes(32)))
    assert step(lambda: audit(j, receipt=moved.encode())) == 2


def test_a_receipt_is_for_one_request() -> None:
    j = run()
    again = product_request(j.a, j.b, device=DEVICE)  # same factors, another nonce
    assert step(lambda: audit(j, request=again)) == 4
    suite = product_request(j.a, j.b, nonce=j.request.nonce, suite="blake3", device=DEVICE)
    assert step(lambda: audit(j, request=suite)) == 4


@pytest.mark.parametrize("change", [{"rows": 8}, {"width": 4}, {"dtype": "int64"}, {"rows": 10}])
def test_c_has_the_type_and_shape_of_the_product(change: dict[str, object]) -> None:
    j = run()
    receipt = replace(j.receipt, c=replace(j.receipt.c, **change))  # type: ignore[arg-type]
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    assert step(lambda: audit(j, receipt=receipt.encode())) == 5


def test_a_challenge_is_for_one_receipt() -> None:
    j, other = run(), run()
    challenge = claim(other).all_rows()
    with pytest.raises(MismatchError):
        opened(j, challenge)
    assert step(lambda: audit(j, challenge=challenge, opening=b"")) == 6
    outside = ProductChallenge(j.receipt.digest, ((8, 10),))
    with pytest.raises(FormatError):
        opened(j, outside)
    with pytest.raises(FormatError):
        audit(j, challenge=outside, opening=b"")


def test_a_rejection_says_whom_it_is_about() -> None:
    honest = run()
    c = honest.proof.c.copy()
    c[0, 0] += 1
    liar = recommitted(honest, c)
    for sent in (liar.proof.c, honest.proof.c):
        with pytest.raises(VerificationError) as caught:
            audit(liar, c=sent)
        error = caught.value
        assert (error.node, error.request_digest) == (NODE.public, honest.request.digest)
        assert error.receipt_digest == liar.receipt.digest


def test_an_opening_that_cannot_be_received_is_a_rejection() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> int:
            raise ConnectionResetError("reset")

    j = run()
    asked = claim(j).all_rows()
    with pytest.raises(VerificationError, match="could not be received") as caught:
        verify_rows(
            j.b, j.request, j.receipt.encode(), asked, io.BufferedReader(Broken()), c=j.proof.c, device=DEVICE
        )
    assert caught.value.step == 10


def test_what_the_caller_gave_is_not_the_nodes_fault() -> None:
    j = run()
    with pytest.raises(InputError, match="32 bytes, not 3"):
        check_product_receipt(j.request, j.receipt.encode(), NOT_RECEIVED, node=b"abc")
    with pytest.raises(InputError, match="bytes that the node sent"):
        check_product_receipt(j.request, j.receipt, NOT_RECEIVED)  # type: ignore[arg-type]


CHALLENGE = ((0, 4), (4, 8), (8, 9))


def opening_of(*change: int | bytes) -> tuple[Job, ProductChallenge, list[bytes]]:
    """A job and its frames, some of them in another order or others in their stead."""
    j = run()
    asked = ProductChallenge(j.receipt.digest, CHALLENGE)
    frames = frames_of(j, asked)
    return j, asked, [frames[f] if isinstance(f, int) else f for f in change]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((0, 1), 10),
        ((), 10),
        ((0, 1, 2, 2), 1),  # a part where the closing frame should be
        ((1, 0, 2), 7),
        ((0, 0, 2), 7),
        ((0, 1, b""), 1),
        ((0, 1, b"\x80"), 1),
    ],
)
def test_openings_are_whole_and_in_order_and_whoever_signed_them_answers_for_it(
    change: tuple[int | bytes, ...], expected: int
) -> None:
    j, asked, frames = opening_of(*change)
    with pytest.raises(VerificationError) as caught:
        audit(j, challenge=asked, opening=closed(j, asked, frames))
    assert caught.value.step == expected
    assert caught.value.attributable == (expected != 1 or len(frames) < 4)


def test_openings_are_closed_by_the_node_and_nothing_follows() -> None:
    j, asked, frames = opening_of(0, 1, 2)
    data = closed(j, asked, frames)
    assert data == opened(j, asked)
    assert audit(j, challenge=asked, opening=data).complete
    another = ProductChallenge(j.receipt.digest, ((0, 4), (4, 7), (7, 9)))
    bare = io.BytesIO()
    for frame in frames:
        write_frame(bare, frame)
    for wrong, expected in (
        (bare.getvalue(), 10),
        (data + b"\x40", 10),
        (data[:-1], 1),
        (b"\x01", 1),
        (bytes.fromhex("5b7fffffffffffffff"), 1),
        # a frame larger than its rows need is refused from its head
        (bytes.fromhex("5a00010000") + bytes(1 << 16), 1),
        (closed(j, asked, frames, OTHER), 2),
        (closed(j, another, frames), 2),
        (closed(run(), asked, frames), 2),
    ):
        with pytest.raises(VerificationError) as caught:
            audit(j, challenge=asked, opening=wrong)
        assert caught.value.step == expected
        assert not caught.value.attributable


@pytest.mark.parametrize("at", range(3))
def test_what_was_changed_on_the_way_is_not_the_nodes_doing(at: int) -> None:
    j, asked, frames = opening_of(0, 1, 2)
    data = closed(j, asked, frames)
    middle = data.index(frames[at]) + len(frames[at]) // 2
    with pytest.raises(VerificationError, match="not what the node signed") as caught:
        audit(j, challenge=asked, opening=data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    assert (caught.value.step, caught.value.attributable) == (2, False)


def test_opened_rows_are_the_committed_ones() -> None:
    j = run()
    challenge = ProductChallenge(j.receipt.digest, ((4, 6),))
    (frame,) = frames_of(j, challenge)
    part = RowsPart.decode(frame, j.request, j.receipt.c, 4, 6)

    def flipped(data: bytes, i: int) -> bytes:
        return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]

    def rejected(wrong: RowsPart) -> int:
        data = closed(j, challenge, [wrong.encode()])
        return step(lambda: audit(j, challenge=challenge, opening=data))

    for i in range(len(part.a)):
        assert rejected(replace(part, a=flipped(part.a, i))) == 7
    for i in range(len(part.c)):
        assert rejected(replace(part, c=flipped(part.c, i))) == 7
    for wrong, expected in (
        (replace(part, a_proof=part.a_proof[::-1]), 7),
        (replace(part, c_proof=part.c_proof[:-1]), 1),
        (replace(part, c_proof=(*part.c_proof, bytes(32))), 1),
        (replace(part, c=part.c[:-1]), 1),
        (replace(part, a=part.a + b"\0"), 1),
        (replace(part, a=b"", a_proof=()), 1),
    ):
        assert rejected(wrong) == expected
