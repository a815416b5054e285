"""GEMM jobs between parties: what an honest node does passes; a caller's own mistakes are told as such."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cases import DEVICE, NODE, OTHER, Job, audit, claim, factors, opened, run, step
from proofcompute.encoding import wire
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    StorageError,
)
from proofcompute.jobs import (
    NOT_RECEIVED,
    MatrixId,
    ProductChallenge,
    ProductClaim,
    ProductKey,
    ProductProof,
    ProductReceipt,
    ProductRequest,
    check_product_receipt,
    matmul,
    product_request,
    prove_product,
    verify_rows,
)
from proofcompute.jobs.commitment import rows_leaves
from proofcompute.protocol.messages.terms import Terms
from proofcompute.protocol.promises import RETENTION, require_within


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
    assert len(k.log.attempts) == 3  # one for each job, however many ranges it has


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
        challenge = claim(j).draw(2)
        assert challenge.rows == 2
        assert audit(j, challenge=challenge).rows == 2
        seen |= {row for a, b in challenge.ranges for row in range(a, b)}
    assert seen == set(range(9))  # each row is missed with (7/9)^60 < 1e-6
    assert claim(j).draw(9).ranges == claim(j).draw(10).ranges == ((0, 9),)
    for count in (0, -1):
        with pytest.raises(InputError, match="cannot be drawn"):
            claim(j).draw(count)


# -- the caller's own mistakes ---------------------------------------------------------------------------
def test_the_node_runs_what_the_request_names() -> None:
    a, b = factors()
    request = product_request(a, b, node=NODE.public, device=DEVICE)
    with pytest.raises(MismatchError, match="A is not"):
        prove_product(request, a + 1, b, NODE, device=DEVICE)
    with pytest.raises(MismatchError, match="B is not"):
        prove_product(request, a, b + 1, NODE, device=DEVICE)
    with pytest.raises(MismatchError, match="addresses"):
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
            claim(j).all_rows(),
            io.BytesIO(),
            c=j.proof.c,
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


def signed(request: ProductRequest, c: MatrixId) -> ProductClaim:
    receipt = ProductReceipt(
        suite="sha256", request_digest=request.digest, c=c, retention=0, node=NODE.public
    )
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    return check_product_receipt(request, receipt.encode(), NOT_RECEIVED)


def test_a_range_is_no_larger_than_a_part() -> None:
    row = MatrixId("float64", 1 << 20, 1 << 20, bytes(32))
    request = ProductRequest(row, row, bytes(32))
    wide = signed(request, row)
    challenge = ProductChallenge(wide.receipt.digest, ((0, 64),))
    with pytest.raises(LimitError, match="smaller ranges"):
        challenge.check(request, wide.receipt)
    with pytest.raises(LimitError, match="larger ones"):
        wide.all_rows(2)
    for challenge in (wide.all_rows(), wide.draw(1 << 10)):
        challenge.check(request, wide.receipt)


def test_a_row_of_the_greatest_width_can_be_opened() -> None:
    a = MatrixId("float64", 3, 1 << 24, bytes(32))
    b = MatrixId("float64", 1 << 24, 1 << 24, bytes(32))
    request = ProductRequest(a, b, bytes(32))
    widest = signed(request, a)
    assert widest.all_rows().ranges == ((0, 1), (1, 2), (2, 3))
    widest.all_rows().check(request, widest.receipt)


def test_what_a_job_of_many_rows_takes_to_challenge() -> None:
    """Nothing is listed before the number of ranges is known to be small."""
    tall = MatrixId("int8", 1 << 24, 4, bytes(32))
    request = ProductRequest(tall, MatrixId("int8", 4, 4, bytes(32)), bytes(32))
    job = signed(request, MatrixId("int32", 1 << 24, 4, bytes(32)))
    tracemalloc.start()
    try:
        assert job.all_rows().rows == 1 << 24
        assert job.draw(1000).rows == 1000
        for step in (1, 63):
            with pytest.raises(LimitError, match="larger ones"):
                job.all_rows(step)
        with pytest.raises(InputError, match="at least one row"):
            job.all_rows(0)
        for count in (1 << 19, 1 << 25):
            with pytest.raises(InputError, match="cannot be drawn"):
                job.draw(count)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


# -- what a node was given, keeps and promises -------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["int8", "float64"])
def test_a_product_that_was_computed_elsewhere(dtype: str) -> None:
    a, b = factors(dtype)
    made = (a.astype(np.int32) @ b.astype(np.int32)) if dtype == "int8" else a @ b
    request = product_request(a, b, device=DEVICE)
    for c in (made, np.asfortranarray(made), made.astype(made.dtype.newbyteorder(">"))):
        proof = prove_product(request, a, b, NODE, c=c, device=DEVICE)
        assert audit(Job(a, b, request, proof), c=made).complete
    for wrong, error in (
        (made[:-1], InputError),
        (made.astype(np.float32), InputError),
        (made.tolist(), InputError),
        (made.astype(np.int64), InputError),
        *([(np.full_like(made, np.nan), NonFiniteError)] if dtype == "float64" else []),
    ):
        with pytest.raises(error):
            prove_product(request, a, b, NODE, c=wrong, device=DEVICE)
    false = prove_product(
        request, a, b, NODE, c=made + 1, check=False, device=DEVICE
    )  # it is the node's risk
    assert step(lambda: audit(Job(a, b, request, false))) == 8


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_a_proof_in_a_file(tmp_path: Path, dtype: str) -> None:
    j = run(dtype, "blake3", NODE.public)
    path = tmp_path / "proof"
    j.proof.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = ProductProof.load(path, NODE, device=DEVICE)
    assert (again.request, again.receipt) == (j.request, j.receipt)
    assert (again.a.dtype, again.c.dtype) == (j.proof.a.dtype, j.proof.c.dtype)
    np.testing.assert_array_equal(again.c, j.proof.c)
    assert opened(Job(j.a, j.b, j.request, again)) == opened(j)


def whole(path: Path, j: Job) -> None:
    """Load a proof and open everything."""
    again = ProductProof.load(path, NODE, device=DEVICE)
    opened(Job(j.a, j.b, j.request, again))


def test_a_damaged_proof_is_refused(tmp_path: Path) -> None:
    j, path = run(), tmp_path / "proof"
    j.proof.save(path)
    data = path.read_bytes()
    whole(path, j)
    for at in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(InputError):
            whole(path, j)
    for cut in (data[:-1], data + b"\0", data[:50], b""):
        path.write_bytes(cut)
        with pytest.raises(FormatError):
            ProductProof.load(path, NODE, device=DEVICE)
    rows = j.a.nbytes + j.proof.c.nbytes
    path.write_bytes(data[: -rows - 1] + b"\0" + data[-rows:])
    with pytest.raises(MismatchError, match="its leaves are not those"):
        ProductProof.load(path, NODE, device=DEVICE)
    path.write_bytes(data[: -j.proof.c.nbytes] + (j.proof.c + 1).tobytes())
    again = ProductProof.load(path, NODE, device=DEVICE)
    with pytest.raises(MismatchError, match="of C are not those that were signed"):
        opened(Job(j.a, j.b, j.request, again))
    path.write_bytes(data)
    with pytest.raises(MismatchError, match="not signed by this identity"):
        ProductProof.load(path, OTHER, device=DEVICE)
    for none in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            ProductProof.load(none, NODE, device=DEVICE)


@pytest.mark.parametrize("dtype", ["int8", "float64"])
def test_a_proof_that_refers_to_its_matrices(tmp_path: Path, dtype: str) -> None:
    j, path = run(dtype), tmp_path / "proof"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    inside, outside = tmp_path / "a.npy", elsewhere / "c.npy"
    np.save(inside, j.a)
    np.save(outside, j.proof.c)
    j.proof.save(path)
    size = path.stat().st_size
    for options, saved in (
        ({"a": inside}, j.a.nbytes),
        ({"c": outside}, j.proof.c.nbytes),
        ({"a": inside, "c": outside}, j.a.nbytes + j.proof.c.nbytes),
    ):
        j.proof.save(path, **options)
        assert path.stat().st_size < size - saved + 200
        whole(path, j)
    moved = elsewhere / "proof"
    j.proof.save(moved, c=outside)
    elsewhere.rename(tmp_path / "moved")
    whole(tmp_path / "moved" / "proof", j)  # what lies in one folder may move together
    with pytest.raises(InputError, match="cannot read"):
        whole(path, j)


def test_files_that_a_proof_cannot_refer_to(tmp_path: Path) -> None:
    j, path, file = run(), tmp_path / "proof", tmp_path / "a.npy"
    for wrong in (j.a + 1, j.a[:-1], j.a.astype(np.int16), np.asfortranarray(j.a), j.a.reshape(-1)):
        np.save(file, wrong)
        with pytest.raises(MismatchError, match=r"a\.npy"):
            j.proof.save(path, a=file)
        assert not path.exists()
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="never read"):
        j.proof.save(path, a=file)
    np.save(file, j.a)
    j.proof.save(path, a=file)
    np.save(file, j.a + 1)
    with pytest.raises(MismatchError, match="of A are not those that were signed"):
        whole(path, j)
    np.save(file, j.a[:-1])
    with pytest.raises(MismatchError, match="with 9 rows"):
        whole(path, j)
    file.unlink()
    with pytest.raises(InputError, match=r"a\.npy"):
        whole(path, j)


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    j, path = run(), tmp_path / "proof"
    j.proof.save(path)
    before = path.read_bytes()

    def full(x: Any) -> Any:
        raise OSError(28, "no space left")

    monkeypatch.setattr("proofcompute.jobs.commitment.leaf_rows", full)
    with pytest.raises(StorageError, match="no space left"):
        j.proof.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("which", ["a", "c"])
def test_rows_that_were_changed_are_not_saved(tmp_path: Path, which: str) -> None:
    j = run()
    (j.proof.a if which == "a" else j.proof.c)[5, 2] ^= 1
    with pytest.raises(MismatchError, match="changed since"):
        j.proof.save(tmp_path / "proof")
    assert list(tmp_path.iterdir()) == []


def test_opening_reads_the_rows_that_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    j, path = run(), tmp_path / "proof"
    j.proof.save(path)
    hashed: list[int] = []
    true = rows_leaves

    def seen(suite: str, dtype: str, rows: Any, kernels: Any) -> Any:
        hashed.append(len(rows))
        return true(suite, dtype, rows, kernels)

    monkeypatch.setattr("proofcompute.jobs.commitment.rows_leaves", seen)
    again = ProductProof.load(path, NODE, device=DEVICE)
    assert hashed == []
    opened(Job(j.a, j.b, j.request, again), ProductChallenge(j.receipt.digest, ((2, 3), (5, 7))))
    assert hashed == [3, 3]  # three rows of A, and of C


@pytest.mark.parametrize(("size", "count"), [(1, 100), (1 << 20, 2), (1 << 20, 1), (150, 3)])
def test_ranges_are_opened_in_groups(monkeypatch: pytest.MonkeyPatch, size: int, count: int) -> None:
    j = run()
    asked = ProductChallenge(j.receipt.digest, ((0, 1), (1, 2), (3, 5), (5, 6), (7, 9)))
    whole = opened(j, asked)
    monkeypatch.setattr("proofcompute.jobs.proof._GROUP", size)
    monkeypatch.setattr("proofcompute.jobs.proof._RANGES", count)
    assert opened(j, asked) == whole
    groups = list(j.proof._groups(asked))
    assert [r for group in groups for r in group] == list(asked.ranges)
    assert all(0 < len(group) <= count for group in groups)
    assert audit(j, challenge=asked, opening=whole).rows == 7


def test_a_file_announces_no_more_than_it_holds(tmp_path: Path) -> None:
    """A receipt of a gigantic product in a small file: refused before anything is made for it."""
    row = MatrixId("float64", 1 << 24, 1 << 24, bytes(32))
    job = signed(ProductRequest(row, row, bytes(32)), row)
    path = tmp_path / "proof"
    kind = "proofcompute product proof"
    with path.open("wb") as stream:
        write_frame(stream, wire.encode((kind, 2, job.request.encode(), job.receipt.encode(), "", "")))
    with pytest.raises(FormatError, match="does not end with"):
        ProductProof.load(path, NODE, device=DEVICE)


def test_retention_and_terms() -> None:
    a, b = factors()
    request = product_request(a, b, node=NODE.public, device=DEVICE)
    terms = Terms.of(NODE, base=5, rate=3, retention=100)

    def prove(**promise: Any) -> ProductProof:
        return prove_product(request, a, b, NODE, device=DEVICE, **promise)

    def check(proof: ProductProof, **wanted: Any) -> ProductClaim:
        return check_product_receipt(request, proof.receipt.encode(), proof.c, device=DEVICE, **wanted)

    kept = prove(retention=200, terms=terms)
    assert check(kept, terms=terms, retention=200).receipt.retention == 200
    assert step(lambda: check(kept, retention=201)) == 5
    assert step(lambda: check(prove(), terms=terms)) == 5
    assert prove().receipt.retention == RETENTION
    assert (
        prove(terms=Terms.of(NODE, base=0, rate=1, retention=2 * RETENTION)).receipt.retention
        == 2 * RETENTION
    )
    others = Terms.of(OTHER, base=5, rate=3, retention=100)
    assert step(lambda: check(kept, terms=others)) == 2
    with pytest.raises(MismatchError, match="is for node"):
        check(kept, node=OTHER.public)
    asked = product_request(a, b, device=DEVICE)
    relayed = prove_product(asked, a, b, NODE, device=DEVICE)

    def check_relayed(**wanted: Any) -> ProductClaim:
        return check_product_receipt(asked, relayed.receipt.encode(), relayed.c, device=DEVICE, **wanted)

    assert step(lambda: check_relayed(terms=others)) == 2
    assert step(lambda: check_relayed(node=OTHER.public)) == 2
    for promise in ({"retention": 99, "terms": terms}, {"retention": 1 << 32}, {"retention": -1}):
        with pytest.raises(InputError, match="retention"):
            prove(**promise)
    with pytest.raises(InputError, match="another node's"):
        prove(terms=Terms.of(OTHER, base=5, rate=3, retention=100))
    rows = kept.receipt.c.rows
    require_within(8.0, terms.deadline(rows, 60.0))
    assert step(lambda: require_within(8.1, terms.deadline(rows, 60.0))) == 10


def test_a_nonce_is_for_one_job_under_a_key() -> None:
    a, b = factors()
    k = ProductKey(b, suite="sha256", device=DEVICE)
    for other, allowed in ((a, True), (a, True), (factors(seed=3)[0], False)):
        request = product_request(other, b, nonce=bytes(32), device=DEVICE)
        j = Job(other, b, request, prove_product(request, other, b, NODE, device=DEVICE))
        if allowed:
            assert audit(j, b=k).complete
        else:
            with pytest.raises(MismatchError, match="nonce of another one"):
                audit(j, b=k)
