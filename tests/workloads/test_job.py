"""GEMM jobs between parties: what an honest node does passes, what a dishonest one tries does not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute import wire
from proofcompute.devices import kernels_for
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    VerificationError,
)
from proofcompute.field import P61
from proofcompute.kernels import Array
from proofcompute.signing import NodeIdentity
from proofcompute.workloads import (
    MatrixId,
    ProductChallenge,
    ProductKey,
    ProductProof,
    ProductReceipt,
    ProductRequest,
    ProductVerified,
    job,
    key,
    matmul,
    product_request,
    prove_product,
    verify_rows,
)
from proofcompute.workloads.commitment import leaf_rows, matrix_tree, rows_from_leaves
from proofcompute.workloads.messages import RowsPart

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
    tree = matrix_tree(c, honest.request.suite, KERNELS)
    a = honest.a if a is None else a
    receipt = replace(honest.receipt, c=MatrixId.under(c, tree))
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    a_tree = matrix_tree(a, honest.request.suite, KERNELS)
    return Job(a, honest.b, honest.request, ProductProof(honest.request, receipt, a, c, a_tree, tree))


def opened(j: Job, challenge: ProductChallenge | None = None) -> bytes:
    stream = io.BytesIO()
    j.proof.open_rows(challenge or ProductChallenge.all_rows(j.receipt, 4), stream)
    return stream.getvalue()


def audit(
    j: Job,
    *,
    b: ProductKey | Array | None = None,
    request: ProductRequest | None = None,
    receipt: bytes | None = None,
    challenge: ProductChallenge | None = None,
    opening: bytes | None = None,
    node: bytes | None = None,
) -> ProductVerified:
    challenge = challenge or ProductChallenge.all_rows(j.receipt, 4)
    data = opened(j, challenge) if opening is None else opening
    return verify_rows(
        j.b if b is None else b,
        request or j.request,
        j.receipt.encode() if receipt is None else receipt,
        challenge,
        io.BytesIO(data),
        node=node,
        device=DEVICE,
    )


def step(f: Callable[[], object]) -> int:
    with pytest.raises(VerificationError) as caught:
        f()
    return caught.value.step


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
    assert k.attempts == 3  # one for each job, however many ranges it has


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


# -- dishonest -------------------------------------------------------------------------------------------
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


def test_only_what_was_addressed_and_signed_counts() -> None:
    j = run(node=NODE.public)
    forged = replace(j.receipt, node=OTHER.public)
    assert step(lambda: audit(j, receipt=forged.encode())) == 2
    by_other = forged.signed(OTHER.sign(forged.signed_digest))
    assert step(lambda: audit(j, receipt=by_other.encode())) == 2
    assert step(lambda: audit(j, node=OTHER.public)) == 2
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
    challenge = ProductChallenge.all_rows(other.receipt)
    with pytest.raises(MismatchError):
        opened(j, challenge)
    assert step(lambda: audit(j, challenge=challenge, opening=b"")) == 6
    outside = ProductChallenge(j.receipt.digest, ((8, 10),))
    with pytest.raises(FormatError):
        opened(j, outside)
    with pytest.raises(FormatError):
        audit(j, challenge=outside, opening=b"")


def parts(data: bytes) -> list[bytes]:
    stream, out = io.BytesIO(data), []
    while (frame := wire.read_frame(stream, limit=1 << 20, what="test")) is not None:
        out.append(frame)
    return out


def joined(frames: list[bytes]) -> bytes:
    stream = io.BytesIO()
    for frame in frames:
        wire.write_frame(stream, frame)
    return stream.getvalue()


def test_openings_are_whole_in_order_and_nothing_more() -> None:
    j = run()
    frames = parts(opened(j))
    assert len(frames) == 3
    for wrong, expected in (
        (frames[:-1], 10),
        ([], 10),
        ([*frames, frames[-1]], 10),
        ([frames[1], frames[0], frames[2]], 7),
        ([frames[0], frames[0], frames[2]], 7),
        ([*frames[:2], b""], 1),
    ):
        assert step(lambda f=wrong: audit(j, opening=joined(f))) == expected  # type: ignore[misc]
    assert step(lambda: audit(j, opening=opened(j)[:-1])) == 1
    assert step(lambda: audit(j, opening=b"\x01")) == 1
    assert step(lambda: audit(j, opening=bytes.fromhex("5b7fffffffffffffff"))) == 1
    assert step(lambda: audit(j, opening=opened(j) + b"\x40")) == 10
    # a frame larger than its rows need is refused from its head
    assert step(lambda: audit(j, opening=bytes.fromhex("5a00010000") + bytes(1 << 16))) == 1


def test_opened_rows_are_the_committed_ones() -> None:
    j = run()
    challenge = ProductChallenge(j.receipt.digest, ((4, 6),))
    (frame,) = parts(opened(j, challenge))
    part = RowsPart.decode(frame, j.request.a, j.receipt.c, 4, 6)

    def flipped(data: bytes, i: int) -> bytes:
        return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]

    for i in range(len(part.a)):
        wrong = replace(part, a=flipped(part.a, i))
        assert step(lambda p=wrong: audit(j, challenge=challenge, opening=joined([p.encode()]))) == 7  # type: ignore[misc]
    for i in range(len(part.c)):
        wrong = replace(part, c=flipped(part.c, i))
        assert step(lambda p=wrong: audit(j, challenge=challenge, opening=joined([p.encode()]))) == 7  # type: ignore[misc]
    for wrong, expected in (
        (replace(part, a_proof=part.a_proof[::-1]), 7),
        (replace(part, c_proof=part.c_proof[:-1]), 1),
        (replace(part, c_proof=(*part.c_proof, bytes(32))), 1),
        (replace(part, c=part.c[:-1]), 1),
        (replace(part, a=part.a + b"\0"), 1),
        (replace(part, a=b"", a_proof=()), 1),
    ):
        assert step(lambda p=wrong: audit(j, challenge=challenge, opening=joined([p.encode()]))) == expected  # type: ignore[misc]


def test_what_each_check_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check, the named attack passes: the other checks do not happen to stop it."""
    honest = run("int16")
    c = honest.proof.c.copy()
    c[2, 2] += P61
    modular = recommitted(honest, c)
    unsigned = replace(honest.receipt, node=OTHER.public)
    other = factors("int16", seed=5)[0]
    swapped = recommitted(honest, matmul(other, honest.b, device=DEVICE)[0], a=other)
    with monkeypatch.context() as without:
        without.setattr(key, "in_range", lambda *_: True)
        assert audit(modular).complete
    with monkeypatch.context() as without:
        without.setattr(job, "signature_holds", lambda *_: True)
        assert audit(
            honest,
            receipt=unsigned.encode(),
            challenge=ProductChallenge.all_rows(unsigned, 4),
            opening=opened(honest),
        ).complete
    with monkeypatch.context() as without:
        without.setattr(job, "_under", _unchecked)
        assert audit(swapped).complete


def _unchecked(of: MatrixId, what: str, suite: str, first: int, end: int, data: bytes, *_: object) -> Array:
    return rows_from_leaves(data, of.dtype, end - first, of.width)


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


# -- encodings -------------------------------------------------------------------------------------------
def test_messages_survive_their_encoding() -> None:
    j = run("float32", "keccak256", NODE.public)
    challenge = ProductChallenge.draw(j.receipt, 5)
    messages: list[ProductRequest | ProductReceipt | ProductChallenge] = [j.request, j.receipt, challenge]
    for message in messages:
        again = type(message).decode(message.encode())
        assert again == message
        assert again.encode() == message.encode()
    assert ProductReceipt.decode(j.receipt.encode()).digest == j.receipt.digest


@pytest.mark.parametrize("which", ["request", "receipt", "challenge"])
def test_every_damaged_message_is_a_typed_error_or_another_message(which: str) -> None:
    j = run()
    messages: dict[str, ProductRequest | ProductReceipt | ProductChallenge] = {
        "request": j.request,
        "receipt": j.receipt,
        "challenge": ProductChallenge(j.receipt.digest, ((0, 2), (5, 6))),
    }
    message = messages[which]
    data = message.encode()
    for i in range(len(data)):
        for value in {data[i] ^ 1, data[i] ^ 0x80, 0, 255} - {data[i]}:
            damaged = data[:i] + bytes([value]) + data[i + 1 :]
            try:
                other = type(message).decode(damaged)
            except InputError:
                continue
            assert other != message
            assert other.encode() == damaged
        with pytest.raises(InputError):
            type(message).decode(data[:i])


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_typed_error(data: bytes) -> None:
    for kind in (ProductRequest, ProductReceipt, ProductChallenge):
        with pytest.raises(InputError):
            kind.decode(data)


@pytest.mark.parametrize(
    "ranges",
    [(), ((1, 1),), ((2, 1),), ((0, 2), (1, 3)), ((3, 4), (0, 1)), ((-1, 1),), ((0, (1 << 24) + 1),)],
)
def test_ranges_ascend_and_do_not_overlap(ranges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InputError):
        ProductChallenge(bytes(32), ranges)


def test_requests_are_consistent() -> None:
    ok = MatrixId("int8", 2, 2, bytes(32))
    for a, b, nonce, node, suite in (
        (ok, replace(ok, rows=3), bytes(32), b"", "sha256"),
        (ok, replace(ok, dtype="float32"), bytes(32), b"", "sha256"),
        (ok, replace(ok, dtype="int64"), bytes(32), b"", "sha256"),
        (replace(ok, dtype="int64"), ok, bytes(32), b"", "sha256"),
        (ok, ok, bytes(31), b"", "sha256"),
        (ok, ok, bytes(32), bytes(31), "sha256"),
        (ok, ok, bytes(32), b"", "md5"),
    ):
        with pytest.raises(FormatError):
            ProductRequest(a, b, nonce, node, suite)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_rows_and_leaves_are_inverse(dtype: str) -> None:
    x = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    data = leaf_rows(x).tobytes()
    assert data == x.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    np.testing.assert_array_equal(rows_from_leaves(data, dtype, 3, 4), x)
    with pytest.raises(FormatError):
        rows_from_leaves(data[:-1], dtype, 3, 4)
