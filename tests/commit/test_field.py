"""field: vectors, Python integers as the oracle, extreme values, soundness by exhaustion in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError
from proofcompute.freivalds import field
from proofcompute.freivalds.field import LIFT61, P31, P61
from proofcompute.limits import MAX_ACCUMULATOR

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "field.json").read_text())
FIELDS: Any = {
    P31: (np.uint32, field.project31, field.fold31, field.sample31, ["int8", "int16", "int32"]),
    P61: (np.uint64, field.project61, field.fold61, field.sample61, ["int8", "int16", "int32", "int64"]),
}
EDGES61 = [0, 1, 2, 7, 8, 2**29 - 1, 2**29, 2**32 - 1, 2**32, 2**32 + 1, 2**60, P61 // 2, P61 - 2, P61 - 1]
residues61 = st.sampled_from(EDGES61) | st.integers(0, P61 - 1)


class Fixed:
    """A stream of given bytes in place of an Xof."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, n: int) -> bytes:
        piece, self.data = self.data[:n], self.data[n:]
        assert len(piece) == n
        return piece


def array(rows: Any, dtype: Any) -> Any:
    return np.array([[int(v) for v in row] for row in rows], dtype=dtype)


def in_python(y: Any, s: Any, p: int) -> list[list[int]]:
    columns = [[int(v) for v in column] for column in s]
    return [[sum(int(a) * b for a, b in zip(row, c, strict=True)) % p for c in columns] for row in y]


def extremes(rng: np.random.Generator, dtype: str, shape: tuple[int, int]) -> Any:
    """Random values, with many at the ends of the type."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
    values[rng.random(shape) < 0.3] = info.min
    values[rng.random(shape) < 0.3] = info.max
    return values


def residues(rng: np.random.Generator, p: int, shape: tuple[int, int]) -> Any:
    values = rng.integers(0, p, size=shape, dtype=np.uint64)
    values[rng.random(shape) < 0.4] = p - 1
    return values.astype(FIELDS[p][0])


# -- parameters ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("exponent", "p"), [(31, P31), (61, P61)])
def test_the_moduli_are_prime(exponent: int, p: int) -> None:
    # Lucas-Lehmer: 2^q - 1 is prime exactly if s = 0 after q - 2 steps s = s^2 - 2 from s = 4
    s = 4
    for _ in range(exponent - 2):
        s = (s * s - 2) % p
    assert p == 2**exponent - 1
    assert s == 0


def test_the_bounds_make_the_lift_unique_and_are_the_largest() -> None:
    assert 2 * (MAX_ACCUMULATOR - 1) < P31 <= 2 * MAX_ACCUMULATOR
    assert 2 * LIFT61 < P61 <= 2 * (LIFT61 + 1)
    assert 2**31 <= LIFT61


# -- vectors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["sampled"], ids=lambda c: f"{c['function']}-{c['name']}")
def test_sampling_vectors(case: Any) -> None:
    stream: Any = Fixed(bytes.fromhex(case["stream"]))
    found = getattr(field, case["function"])(stream, case["shape"])
    assert list(found.shape) == case["shape"]
    assert [str(v) for v in found.reshape(-1).tolist()] == case["values"]


@pytest.mark.parametrize("case", VECTORS["products"], ids=lambda c: f"{c['p']}-{c['dtype']}")
def test_product_vectors(case: Any) -> None:
    p = int(case["p"])
    residue, project, fold, _, _ = FIELDS[p]
    y, s = array(case["y"], case["dtype"]), array(case["s"], residue)
    assert np.array_equal(project(y, s), array(case["project"], residue))
    assert np.array_equal(fold(np.ascontiguousarray(y.T), s), array(case["fold_of_transposed"], residue))


@pytest.mark.parametrize("case", VECTORS["checks"], ids=lambda c: f"{c['p']}-{c['name']}")
def test_freivalds_vectors(case: Any) -> None:
    p = int(case["p"])
    residue, project, fold, _, _ = FIELDS[p]
    x, w, s = array(case["x"], np.int8), array(case["w"], np.int8), array(case["s"], residue)
    claim = array(case["claim"], case["dtype"])
    left, right = project(claim, s), project(x, fold(np.ascontiguousarray(w.T), s))
    assert np.array_equal(left, right) == case["equal"]
    assert np.array_equal(left[:, 0], right[:, 0]) == case["first_column_equal"]
    assert bool(np.all(abs(claim.astype(object)) <= (p - 1) // 2)) == case["within_bound"]
    honest = np.array_equal(claim, x.astype(np.int64) @ w.astype(np.int64))
    assert (case["equal"] and case["within_bound"]) == honest
    if p == P61:
        assert np.array_equal(right, project(x, np.ascontiguousarray(project(w, s).T)))


# -- sampling --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", FIELDS)
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 4), (2, 0), (2, 3, 5)])
def test_sampling_is_row_major_and_reads_nothing_more(p: int, shape: tuple[int, ...]) -> None:
    residue, _, _, sample, _ = FIELDS[p]
    xof, again = Xof("d", b"s"), Xof("d", b"s")
    found = sample(xof, shape)
    assert found.shape == shape
    assert found.dtype == residue
    count, width = found.size, np.dtype(residue).itemsize
    words = np.frombuffer(again.read(count * width), dtype=residue) & residue(p)
    assert found.reshape(-1).tolist() == words.tolist()  # p itself has probability 2^-31 or less
    assert xof.read(8) == again.read(8)


@pytest.mark.parametrize("p", FIELDS)
def test_sampling_rejects_whatever_the_position(p: int) -> None:
    residue, _, _, sample, _ = FIELDS[p]
    width = np.dtype(residue).itemsize
    words = [p, 1, p, p, 2, 3, p]
    stream: Any = Fixed(b"".join(w.to_bytes(width, "little") for w in words) + b"rest")
    assert sample(stream, (3,)).tolist() == [1, 2, 3]
    assert stream.data == p.to_bytes(width, "little") + b"rest"


@pytest.mark.parametrize("p", FIELDS)
def test_sampling_covers_the_field_evenly(p: int) -> None:
    values = FIELDS[p][3](Xof("even"), (1 << 16,))
    assert int(values.max()) < p
    counts = np.bincount((values // (p // 16 + 1)).astype(np.int64), minlength=16)
    assert float(np.sum((counts - 4096.0) ** 2) / 4096.0) < 44.3  # chi-squared, 15 degrees: 1e-4; fixed seed


# -- GF(2^61 - 1), elementwise ---------------------------------------------------------------------------
def test_mul61_and_add61_on_all_edges() -> None:
    x = np.array(EDGES61, dtype=np.uint64)
    products, sums = field.mul61(x[:, None], x[None, :]), field.add61(x[:, None], x[None, :])
    assert products.tolist() == [[a * b % P61 for b in EDGES61] for a in EDGES61]
    assert sums.tolist() == [[(a + b) % P61 for b in EDGES61] for a in EDGES61]


@given(st.lists(st.tuples(residues61, residues61), min_size=1, max_size=20))
def test_mul61_and_add61_are_exact(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side, dtype=np.uint64) for side in zip(*pairs, strict=True))
    assert field.mul61(x, y).tolist() == [a * b % P61 for a, b in pairs]
    assert field.add61(x, y).tolist() == [(a + b) % P61 for a, b in pairs]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 100_000])
def test_sum61_is_exact(n: int) -> None:
    greatest = np.full((2, n), P61 - 1, dtype=np.uint64)
    assert field.sum61(greatest).tolist() == [n * (P61 - 1) % P61] * 2
    mixed = np.random.default_rng(2).integers(0, P61, size=n, dtype=np.uint64)
    assert int(field.sum61(mixed)) == sum(mixed.tolist()) % P61


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_residues(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min + 1, -1, 0, 1, info.max], dtype=dtype)
    assert field.residues61(x).tolist() == [int(v) % P61 for v in x]
    if dtype != "int64":
        assert field.residues31(x).tolist() == [int(v) % P31 for v in x]


# -- products --------------------------------------------------------------------------------------------
PRODUCTS = [(p, dtype) for p, entry in FIELDS.items() for dtype in entry[4]]
SHAPES = [
    (1, 1, 1),
    (3, 5, 2),
    (2, 17, 8),
    (1, 64, 1),
    (4, 1, 3),
    (0, 3, 2),
    (3, 0, 2),
    (3, 2, 0),
    (2, 300, 6),
]


@pytest.mark.parametrize(("p", "dtype"), PRODUCTS)
@pytest.mark.parametrize(("n", "m", "k"), SHAPES)
def test_project_and_fold_are_exact(p: int, dtype: str, n: int, m: int, k: int) -> None:
    residue, project, fold, _, _ = FIELDS[p]
    rng = np.random.default_rng(n * 1000 + m * 10 + k)
    y, s = extremes(rng, dtype, (n, m)), residues(rng, p, (k, m))
    wanted = array(in_python(y, s, p), residue).reshape(n, k)
    found = project(y, s)
    assert found.dtype == residue
    assert found.shape == (n, k)
    assert np.array_equal(found, wanted)
    folded = fold(np.ascontiguousarray(y.T), s)
    assert folded.dtype == residue
    assert folded.shape == (k, n)
    assert np.array_equal(folded, wanted.T)


@pytest.mark.parametrize(("p", "dtype"), PRODUCTS)
@pytest.mark.parametrize("end", ["min", "max"])
def test_the_longest_sums_of_extremes(p: int, dtype: str, end: str) -> None:
    """Across block boundaries, every term as large as it can be: where an accumulator would overflow."""
    residue, project, fold, _, _ = FIELDS[p]
    m, value = (1 << 17) + 3, int(getattr(np.iinfo(dtype), end))
    y, s = np.full((1, m), value, dtype=dtype), np.full((1, m), p - 1, dtype=residue)
    wanted = [[m * value * (p - 1) % p]]
    assert project(y, s).tolist() == wanted
    if p == P31:
        assert fold(np.ascontiguousarray(y.T), s).tolist() == wanted


@pytest.mark.parametrize("p", FIELDS)
def test_a_correct_product_passes_and_a_wrong_one_fails(p: int) -> None:
    residue, project, fold, sample, _ = FIELDS[p]
    rng = np.random.default_rng(3)
    x, w = extremes(rng, "int8", (4, 70)), extremes(rng, "int8", (9, 70))  # w: output channels in rows
    s = sample(Xof("test"), (2, 9))
    y = x.astype(np.int32) @ w.astype(np.int32).T
    right = project(x, fold(w, s))
    assert np.array_equal(project(y, s), right)
    for t in range(4):
        for j in range(9):
            wrong = y.copy()
            wrong[t, j] ^= 1 << (t * 9 + j) % 30
            equal = project(wrong, s) == right
            assert not equal[t].any()
            assert equal[[i for i in range(4) if i != t]].all()
    assert residue == s.dtype


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64"])
def test_the_check_of_a_wide_product(dtype: str) -> None:
    """Y = X W with entries up to 2^25: |Y| <= 40 2^50 < LIFT61, over GF(P61)."""
    rng = np.random.default_rng(4)
    top = min(2**25, np.iinfo(dtype).max)
    x = rng.integers(-top, top, size=(3, 40), dtype=dtype)
    w = rng.integers(-top, top, size=(40, 5), dtype=dtype)
    y = x.astype(np.int64) @ w.astype(np.int64)
    assert int(np.abs(y).max()) <= LIFT61
    s = field.sample61(Xof("wide"), (2, 5))
    v = np.ascontiguousarray(field.project61(w, s).T)
    assert np.array_equal(v, field.fold61(np.ascontiguousarray(w.T), s))
    assert np.array_equal(field.project61(y, s), field.project61(x, v))
    y[1, 2] += 1
    assert not (field.project61(y, s) == field.project61(x, v))[1].any()


def test_one_residue_in_p_hides_an_error_modulo_small_p() -> None:
    """The proof of the bound, exhausted for p = 7: each wrong row passes for exactly p^(m-1) vectors s."""
    p, m = 7, 2
    for e in ((a, b) for a in range(p) for b in range(p) if (a, b) != (0, 0)):
        passing = sum((e[0] * s0 + e[1] * s1) % p == 0 for s0 in range(p) for s1 in range(p))
        assert passing == p ** (m - 1)


# -- refusals --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", FIELDS)
def test_other_arrays_are_refused(p: int) -> None:
    residue, project, fold, _, dtypes = FIELDS[p]
    y, s = np.zeros((2, 3), dtype=dtypes[-1]), np.zeros((1, 3), dtype=residue)
    project(y, s)
    wrong: list[tuple[Any, Any]] = [
        (y.astype(np.float32), s), (y.astype(np.uint8), s), (y.astype(bool), s), (y.astype(object), s),
        (y[0], s), (y[None], s), (y[:, :2], s), (y, s[0]), (y, s[:, :2]), (y, s.astype(np.int64)),
        (y, s.astype(np.uint64 if p == P31 else np.uint32)), (y, np.full((1, 3), p, dtype=residue)),
        (y, np.full((1, 3), np.iinfo(residue).max, dtype=residue)),
    ]  # fmt: skip
    if p == P31:
        wrong.append((y.astype(np.int64), s))
    for bad_y, bad_s in wrong:
        with pytest.raises(InputError):
            project(bad_y, bad_s)
        with pytest.raises(InputError):
            fold(bad_y.T, bad_s)
