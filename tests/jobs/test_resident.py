"""Jobs with one B that stays: many products, arrays of other libraries, a C from elsewhere, keys in files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from jobs.cases import DEVICE, NODE, OTHER, Job, audit, factors, step
from jobs.producer import CUDA, METAL, PINNED, Foreign, Plain, from_dlpack, package, values
from proofcompute.arrays import Array
from proofcompute.errors import (
    DeviceError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    VerificationError,
)
from proofcompute.freivalds.field import P31
from proofcompute.jobs import MatrixId, ProductJob, ProductKey, product_request, prove_product
from proofcompute.jobs import job as make

DTYPES = ("int8", "int16", "int32", "float32", "float64")


def true(a: Array, b: Array) -> Array:
    return a @ b if a.dtype.kind == "f" else a.astype(np.int64) @ b.astype(np.int64)


def audited(b: Array, a: Array, proof: Any, key: ProductKey | None = None) -> bool:
    return audit(Job(a, b, proof.request, proof), b=key).complete


# -- many A ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_a_against_one_b(dtype: str, device: str) -> None:
    b = factors(dtype)[1]
    with make(b, identity=NODE, suite="blake3", device=device) as resident:
        for n in (1, 3, 70):
            a = factors(dtype, n=n, seed=n)[0]
            request = resident.request(a, node=NODE.public)
            assert request.b == resident.b == product_request(a, b, suite="blake3", device=DEVICE).b
            c, proof = resident.matmul(a, request=request)
            np.testing.assert_array_equal(c, true(a, b))
            assert audited(b, a, proof)
            one = prove_product(request, a, b, NODE, device=DEVICE)
            assert one.receipt == proof.receipt  # the same bytes as a job of its own


def test_only_a_and_c_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = factors()
    resident = make(b, identity=NODE, device=DEVICE)
    hashed: list[tuple[int, ...]] = []
    kernels = resident._kernels
    whole = type(kernels).hash_rows

    def seen(self: Any, suite: str, prefix: bytes, rows: Array) -> Array:
        if prefix[:1] == b"\0":
            hashed.append(rows.shape)
        return whole(self, suite, prefix, rows)

    monkeypatch.setattr(type(kernels), "hash_rows", seen)
    resident.matmul(a)
    assert hashed == [(9, 7), (9, 4 * 5)]


def test_a_closed_job_holds_and_does_nothing() -> None:
    a, b = factors()
    with make(b, device=DEVICE) as resident:
        c, proof = resident.matmul(a, check=True)
        assert "closed" not in repr(resident)
    resident.close()
    assert "closed" in repr(resident)
    assert resident._kept is None
    assert resident._columns == {}
    for use in (lambda: resident.matmul(a), lambda: resident.prove(a), lambda: resident.request(a)):
        with pytest.raises(InputError, match="the job is closed"):
            use()
    assert audited(b, a, proof)  # a proof outlives its job
    assert c is proof.c


def test_what_a_job_keeps_does_not_grow() -> None:
    a, b = factors()
    with make(b, device=DEVICE) as resident:
        resident.matmul(a, check=True)
        kept = dict(resident._columns), dict(resident._factor._turned)
        for seed in range(3):
            resident.matmul(factors(seed=seed)[0], check=True)
        assert (resident._columns, resident._factor._turned) == kept


def test_threads_take_turns() -> None:
    b = factors("int16")[1]
    found: list[Any] = []
    with make(b, identity=NODE, device="cpu") as resident:
        lefts = [factors("int16", seed=i)[0] for i in range(8)]
        threads = [threading.Thread(target=lambda x=x: found.append((x, resident.matmul(x)))) for x in lefts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    for left, (c, proof) in found:
        np.testing.assert_array_equal(c, true(left, b))
        assert audited(b, left, proof)


def test_a_job_is_for_its_b_and_its_suite() -> None:
    a, b = factors()
    with make(b, identity=NODE, device=DEVICE) as resident:
        for request, match in (
            (product_request(a, b + 1, device=DEVICE), "B is not"),
            (product_request(a + 1, b, device=DEVICE), "A is not"),
            (product_request(a, b, suite="blake3", device=DEVICE), "hash suite"),
            (product_request(a, b, node=OTHER.public, device=DEVICE), "addresses"),
        ):
            with pytest.raises(MismatchError, match=match):
                resident.prove(a, request=request)
        with pytest.raises(InputError, match="do not fit"):
            resident.prove(a[:, :-1])
        with pytest.raises(InputError, match="convert them to the same type"):
            resident.prove(a.astype(np.float32))


# -- a C from elsewhere ----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_c_from_elsewhere_is_not_signed(dtype: str) -> None:
    a, b = factors(dtype)
    with make(b, identity=NODE, device=DEVICE) as resident:
        c, _ = resident.matmul(a)
        assert audited(b, a, resident.prove(a, c=c))
        wrong = c.copy()
        wrong[4, 2] += 1
        with pytest.raises(MismatchError, match="nothing was signed"):
            resident.prove(a, c=wrong)
        lying = resident.prove(a, c=wrong, check=False)
        assert step(lambda: audit(Job(a, b, lying.request, lying))) == 8
        for bad in (c[:-1], c.T, c.astype(np.uint8), c.tolist()):
            with pytest.raises(InputError):
                resident.prove(a, c=bad)


def test_a_c_that_is_no_product_at_all() -> None:
    a, b = factors("int16")
    with make(b, device=DEVICE) as resident:
        c, _ = resident.matmul(a)
        with pytest.raises(MismatchError, match="no such product"):
            resident.prove(a, c=c + (1 << 61) - 1)
    a, b = factors("float32")
    with make(b, device=DEVICE) as resident, pytest.raises(NonFiniteError, match="not finite"):
        resident.prove(a, c=np.full((9, 5), np.nan, np.float32))


def test_roundings_say_what_a_check_of_floats_allows() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 300), (300, 50)))
    c = a @ b
    with make(b, roundings=100, device=DEVICE) as resident:
        caught = pc.jobs.float_bound(a, b, roundings=100).smallest
        resident.prove(a, c=c)
        c[7, 7] += np.float32(1.1 * caught)
        with pytest.raises(MismatchError, match="within rounding"):
            resident.prove(a, c=c)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_columns_of_a_check_before_signing(dtype: str) -> None:
    a, b = factors(dtype)
    c = true(a, b).astype("int32" if dtype == "int8" else dtype)
    for columns in (1, 3):
        with make(b, columns=columns, device=DEVICE) as resident:
            assert resident.prove(a, c=c).receipt.c.rows == 9
            assert all(kept.types.columns == columns for kept in resident._columns.values())
    for columns in (0, 257):
        with make(b, columns=columns, device=DEVICE) as resident, pytest.raises(InputError, match="columns"):
            resident.prove(a, c=c)


# -- memory that changes ---------------------------------------------------------------------------------
@pytest.mark.parametrize("which", ["a", "c"])
def test_rows_that_were_changed_after_signing_are_not_opened(which: str) -> None:
    """The node would accuse itself, since nobody else's rows are under its signature."""
    a, b = factors()
    c, proof = make(b, identity=NODE, device=DEVICE).matmul(a)
    assert audited(b, a, proof)
    (a if which == "a" else c)[3, 1] ^= 1
    with pytest.raises(MismatchError, match="changed since"):
        audited(b, a, proof)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_a_job_that_copies_does_not_mind(dtype: str, foreign: bool) -> None:
    a, b = factors(dtype)
    first_a, first_b = a.copy(), b.copy()
    with make(Foreign(b) if foreign else b, identity=NODE, copy=True, device=DEVICE) as resident:
        b[:] = 0
        c, proof = resident.matmul(Foreign(a) if foreign else a)
        first_c = values(c).copy()
        given = resident.prove(a, c=first_c)
        np.testing.assert_array_equal(first_c, true(first_a, first_b))
        a[:], values(c)[:] = 0, 0
        assert audit(Job(first_a, first_b, proof.request, proof), c=first_c).complete
        assert audit(Job(first_a, first_b, given.request, given), c=first_c.copy()).complete
    a, b = factors(dtype)
    c, proof = pc.matmul(a, b, copy=True, device=DEVICE)
    first_c = c.copy()
    a[:], c[:] = 0, 0
    assert audit(Job(first_a, first_b, proof.request, proof), c=first_c).complete


def test_what_is_copied_is_what_is_checked_and_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever computed C writes to its memory once the check has passed, and to A once it is hashed."""
    a, b = factors()
    first_a, c = a.copy(), true(a, b).astype(np.int32)
    right = c.copy()
    checked = ProductJob._check

    def check(self: ProductJob, *arguments: Any) -> None:
        checked(self, *arguments)
        c[0, 0] += 1
        a[0, 0] ^= 1

    monkeypatch.setattr(ProductJob, "_check", check)
    with make(b, identity=NODE, copy=True, device=DEVICE) as resident:
        proof = resident.prove(a, c=c)
    assert audit(Job(first_a, b, proof.request, proof), c=right).complete


# -- other libraries -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_library(dtype: str) -> None:
    a, b = factors(dtype)
    left, right = Foreign(a), Foreign(b)
    with make(right, identity=NODE, device=DEVICE) as resident:
        assert np.shares_memory(resident._right.array, b)
        c, proof = resident.matmul(left)
        assert isinstance(c, Foreign)
        assert np.shares_memory(values(c), proof.c)
        assert np.shares_memory(proof.a, a)
        np.testing.assert_array_equal(values(c), true(a, b))
        assert audited(b, a, proof)
        assert isinstance(resident.matmul(a)[0], np.ndarray)  # results are of A's library
        assert audited(b, a, resident.prove(left, c=c))
    request = product_request(left, b, device=DEVICE)
    assert audited(b, a, prove_product(request, left, right, NODE, device=DEVICE))
    c, _ = pc.matmul(left, b, device=DEVICE)
    assert isinstance(c, Foreign)


def test_a_verifier_takes_arrays_of_other_libraries_on_the_host() -> None:
    a, b = factors("int16")
    c, proof = make(b, identity=NODE, device=DEVICE).matmul(Foreign(a))
    assert pc.verify_product(Foreign(a), Foreign(b), c, device=DEVICE).complete
    key = ProductKey(Foreign(b), suite="sha256", device=DEVICE)
    assert key.check(Foreign(a), c).complete
    j = Job(a, b, proof.request, proof)
    assert audit(j, b=Foreign(b), c=c).received
    assert audit(j, b=key, c=c).received
    wrong = Foreign(values(c) + 1)
    assert step(lambda: audit(j, c=wrong)) == 5
    with pytest.raises(VerificationError):
        key.check(Foreign(a), wrong)
    for where in (CUDA, METAL):
        with pytest.raises(InputError, match="copy it to the host"):
            audit(j, c=Foreign(values(c), where))
        with pytest.raises(InputError, match="copy it to the host"):
            pc.verify_product(a, Foreign(b, where), values(c), device=DEVICE)


def test_a_package_that_takes_dlpack(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = factors("float32")
    package(monkeypatch, from_dlpack=from_dlpack)
    c, proof = make(b, device=DEVICE).matmul(Plain(a))
    assert isinstance(c, Plain)
    assert audited(b, a, proof)
    package(monkeypatch, from_dlpack=lambda x: np.from_dlpack(Plain(x, "not this")))
    with pytest.raises(InputError, match="does not take the product"):
        make(b, device=DEVICE).matmul(Plain(a))
    package(monkeypatch)
    with pytest.raises(InputError, match="takes no results by DLPack"):
        make(b, device=DEVICE).matmul(Plain(a))


@pytest.mark.parametrize(
    "given",
    [
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: Foreign(np.asfortranarray(a)),
        lambda a: Foreign(a[::-1].copy()[::-1]),
        lambda a: Foreign(a, PINNED),
    ],
)
def test_other_layouts_are_the_same_matrix(given: Any) -> None:
    a, b = factors("int16")
    plain = product_request(a, b, nonce=bytes(32), device=DEVICE)
    assert product_request(given(a), given(b), nonce=bytes(32), device=DEVICE) == plain
    c, proof = make(given(b), device=DEVICE).matmul(given(a))
    np.testing.assert_array_equal(values(c), true(a, b))
    assert audited(b, a, proof)


def test_memory_that_is_only_read() -> None:
    a, b = factors("float32")
    for x in (a, b):
        x.flags.writeable = False
    c, proof = make(b, device=DEVICE).matmul(a)
    assert audited(b, a, proof)
    c[0, 0] = 0  # C is the caller's


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (lambda a: a.tolist(), "is list; give an array"),
        (lambda a: Foreign(a, CUDA), "on CUDA device 0, and this job computes on the CPU"),
        (lambda a: Foreign(a, METAL), "a device of kind 8"),
        (lambda a: Foreign(a.astype(np.uint8)), "elements of type uint8"),
        (lambda a: Foreign(a.astype(np.float16)), "widen A and B"),
        (lambda a: Foreign(a[0]), "give one with rows and columns"),
        (lambda a: Plain(a, "negative"), "resolve_neg"),
        (lambda a: Plain(a, "requires grad"), r"requires grad\. Detach"),
    ],
)
def test_what_cannot_be_taken_is_said(monkeypatch: pytest.MonkeyPatch, given: Any, match: str) -> None:
    package(monkeypatch, from_dlpack=from_dlpack)
    a, b = factors()
    with pytest.raises(InputError, match=match):
        make(b, device=DEVICE).matmul(given(a))
    with pytest.raises(InputError, match=match):
        make(given(b), device=DEVICE)


def test_a_b_on_a_gpu_asks_for_that_gpu() -> None:
    b = factors()[1]
    with pytest.raises((DeviceError, InputError), match=r"CUDA|device"):
        make(Foreign(b, (2, 7)))
    with pytest.raises(InputError, match="does not say where it lies"):
        make(Foreign(b, ("x", "y")), device=DEVICE)  # type: ignore[arg-type]
    assert isinstance(make(Foreign(b), device=DEVICE), ProductJob)


# -- keys in files -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
@pytest.mark.parametrize("suite", ["sha256", "blake3"])
def test_a_key_in_a_file(tmp_path: Path, dtype: str, suite: str) -> None:
    a, b = factors(dtype)
    path = tmp_path / "key"
    key = ProductKey(b, suite=suite, device=DEVICE)
    assert key.soundness_bits == ProductKey(b, suite=suite, device=DEVICE).soundness_bits
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = ProductKey.load(path, device="cpu")
    assert (again.identity, again.dtypes, again.columns) == (key.identity, key.dtypes, key.columns)
    assert (again.d, again.m, again.lead, again.suite) == (7, 5, (), suite)
    assert repr(again) == repr(key)
    for used in (key, again, ProductKey.load(path, device=DEVICE)):
        request = used.request(a, node=NODE.public)
        proof = prove_product(request, a, b, NODE, device=DEVICE)
        assert audited(b, a, proof, used)
        wrong = proof.c + 1
        with pytest.raises(VerificationError):
            used.check(a, wrong)
    # all of them counted in one place, under one another's eyes
    assert len(ProductKey.load(path).log.attempts) == 6
    assert ProductKey.load(path).soundness_bits < key.columns * np.log2(
        float(P31) ** (2 if dtype != "int8" else 1)
    )


def test_a_copy_of_a_key_begins_with_its_count(tmp_path: Path) -> None:
    a, b = factors()
    key = ProductKey(b, suite="sha256", device=DEVICE)
    c = true(a, b).astype(np.int32)
    key.check(a, c)
    key.save(tmp_path / "key")
    key.check(a, c)
    key.save(tmp_path / "copy")
    key.check(a, c)
    assert len(ProductKey.load(tmp_path / "key").log.attempts) == 3
    assert len(ProductKey.load(tmp_path / "copy").log.attempts) == 2
    with pytest.raises(InputError, match="is this key already"):
        key.save(tmp_path / "copy")


def test_a_key_that_names_no_b_is_not_saved(tmp_path: Path) -> None:
    a, b = factors()
    key = ProductKey(b, device=DEVICE)
    with pytest.raises(InputError, match="hash suite"):
        key.save(tmp_path / "key")
    with pytest.raises(InputError, match="hash suite"):
        key.request(a)
    assert not list(tmp_path.iterdir())


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ProductKey(factors()[1], suite="sha256", device=DEVICE).save(path)
    data = path.read_bytes()
    for at in [*range(0, len(data), 5), len(data) - 1]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(InputError):
            ProductKey.load(path, device=DEVICE)
    for cut in (data[:-1], data[:40], b"", b"\x80"):
        path.write_bytes(cut)
        with pytest.raises(InputError):
            ProductKey.load(path, device=DEVICE)
    path.write_bytes(data)
    path.chmod(0o644)
    with pytest.raises(InputError, match="others may read"):
        ProductKey.load(path, device=DEVICE)
    with pytest.raises(InputError):
        ProductKey.load(tmp_path / "none", device=DEVICE)


def rewritten(path: Path, **changes: Any) -> None:
    """Write a key whose checksum fits, with other fields."""
    from proofcompute.commitments import hashing
    from proofcompute.encoding import wire

    names = ("kind", "version", "suite", "b", "lead", "left", "claim", "columns", "largest", "seed", "v")
    value, _ = wire.decode_first(path.read_bytes(), what="key")
    fields = tuple({**dict(zip(names, wire.as_list(value, "key"), strict=False)), **changes}.values())
    check = hashing.message_digest("sha256", "product key", wire.encode(fields))
    path.write_bytes(wire.encode((*fields, check)))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": "proofcompute verifier key"}, FormatError),
        ({"version": 2}, FormatError),
        ({"suite": "md5"}, InputError),
        ({"b": ("float32", 7, 5, bytes(32))}, FormatError),
        ({"b": ("int8", 8, 5, bytes(32))}, FormatError),
        ({"b": ("int8", 1 << 25, 5, bytes(32))}, InputError),
        ({"lead": (2,)}, FormatError),
        ({"lead": (1,) * 9}, LimitError),
        ({"left": "float32"}, InputError),
        ({"left": "int16"}, FormatError),
        ({"claim": "int8"}, InputError),
        ({"columns": 0}, InputError),
        ({"columns": 9}, InputError),
        ({"columns": 3}, FormatError),
        ({"largest": -1}, FormatError),
        ({"largest": (1 << 31) + 1}, FormatError),
        ({"seed": bytes(31)}, FormatError),
        ({"v": b""}, FormatError),
        ({"v": b"\xff" * 56}, FormatError),
    ],
)
def test_a_key_holds_what_a_key_can_hold(tmp_path: Path, changes: dict[str, Any], error: type) -> None:
    path = tmp_path / "key"
    ProductKey(factors()[1], suite="sha256", device=DEVICE).save(path)
    rewritten(path)
    ProductKey.load(path, device=DEVICE)
    rewritten(path, **changes)
    with pytest.raises(error):
        ProductKey.load(path, device=DEVICE)


def test_a_request_by_a_key_is_the_one_by_the_matrices() -> None:
    a, b = factors()
    key = ProductKey(b, suite="keccak256", device=DEVICE)
    by_key = key.request(a, nonce=bytes(32), node=NODE.public)
    both = product_request(a, b, nonce=bytes(32), node=NODE.public, suite="keccak256", device=DEVICE)
    assert by_key == both
    assert isinstance(key.identity, MatrixId)
    with pytest.raises(InputError, match="A has elements"):
        key.request(a.astype(np.int16))
    with pytest.raises(FormatError, match="columns"):
        key.request(a[:, :-1].copy())
