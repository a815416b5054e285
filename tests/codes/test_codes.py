"""The circle code, the extension field, and sumcheck, against what defines them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import U64
from proofcompute.codes import extension, sumcheck
from proofcompute.codes.circle import CircleCode, draw_positions, encode31, power
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError
from proofcompute.freivalds.primes import P31

CODES = [(1, 2), (2, 2), (3, 1), (5, 2), (8, 3), (13, 4), (33, 4)]


@pytest.mark.parametrize(("length", "rho"), CODES)
def test_positions_are_different_points_of_the_circle(length: int, rho: int) -> None:
    code = CircleCode.of_rate(length, rho)
    points = {power(code.exponent(q)) for q in range(code.size)}
    assert len(points) == code.size
    assert all((x * x + y * y) % P31 == 1 for x, y in points)
    assert code.agreement <= 2.0**-rho


@pytest.mark.parametrize(("length", "rho"), CODES)
def test_words_are_messages_times_the_basis(length: int, rho: int) -> None:
    code = CircleCode.of_rate(length, rho)
    rows = np.random.default_rng(length).integers(-128, 128, (5, length), dtype=np.int8)
    basis = code.basis(range(code.size)).astype(object)
    words = np.concatenate([encode31(rows, code.bits, code.twiddles(c)) for c in range(code.cosets)])
    assert np.array_equal(words, basis @ rows.T.astype(object) % P31)


@pytest.mark.parametrize("length", [1, 2, 5, 511, 512, 513, 1100, 2048])
def test_words_at_positions_are_messages_times_the_basis(length: int) -> None:
    code = CircleCode.of_rate(length, 2)
    places = sorted({0, 1 % code.size, code.size // 2, code.size - 1})
    basis = code.basis(places).astype(object)
    x, y = power(code.exponent(places[-1]))
    factors = [y, x]
    while len(factors) < 12:
        factors.append((2 * factors[-1] ** 2 - 1) % P31)
    last = [math.prod(f for i, f in enumerate(factors) if j >> i & 1) % P31 for j in range(length)]
    assert basis[-1].tolist() == last
    messages = np.random.default_rng(length).integers(0, P31, (3, length), dtype=np.uint32)
    messages[0] = P31 - 1
    for kernels in (kernels_for("numpy"), kernels_for("cpu")):
        found = code.words(messages, places, kernels.project)
        assert found.dtype == np.uint32
        assert np.array_equal(found, basis @ messages.T.astype(object) % P31)


def test_the_basis_is_what_it_is_said_to_be() -> None:
    code = CircleCode.of_rate(16, 2)
    x, y = power(code.exponent(9))
    v2 = (2 * x * x - 1) % P31
    v3 = (2 * v2 * v2 - 1) % P31
    wanted = [
        pow(y, j & 1) * pow(x, j >> 1 & 1) * pow(v2, j >> 2 & 1) * pow(v3, j >> 3) % P31 for j in range(16)
    ]
    assert code.basis([9])[0].tolist() == wanted


@pytest.mark.parametrize("length", [2, 3, 5, 6, 7, 9, 11])
def test_a_padded_message_vanishes_at_no_more_points_than_its_length_allows(length: int) -> None:
    """A message that vanishes at chosen points is solved for; it vanishes at few others."""
    code = CircleCode.of_rate(length, 3)
    rng = np.random.default_rng(length)
    for _ in range(20):
        places = rng.choice(code.size, length - 1, replace=False).tolist()
        message = _kernel_vector(code.basis(places).astype(object))
        values = code.basis(range(code.size)).astype(object) @ message % P31
        assert length - 1 <= np.count_nonzero(values == 0) <= 2 * (length // 2)


def _kernel_vector(rows: Any) -> Any:
    """A nonzero vector that all rows [n - 1, n] over GF(p) are orthogonal to."""
    pivots: list[int] = []
    a = rows.copy()
    for column in range(a.shape[1]):
        r = len(pivots)
        found = next((i for i in range(r, len(a)) if a[i, column]), None)
        if found is None:
            continue
        a[[r, found]] = a[[found, r]]
        a[r] = a[r] * pow(int(a[r, column]), P31 - 2, P31) % P31
        for i in range(len(a)):
            if i != r:
                a[i] = (a[i] - a[i, column] * a[r]) % P31
        pivots.append(column)
    free = next(c for c in range(a.shape[1]) if c not in pivots)
    out = np.zeros(a.shape[1], object)
    out[free] = 1
    for r, column in enumerate(pivots):
        out[column] = -a[r, free] % P31
    return out


def test_codes_out_of_range_are_refused() -> None:
    for length, cosets in ((0, 1), (1, 0), (1 << 27, 1), (1 << 20, 1 << 7)):
        with pytest.raises(InputError, match="no code of"):
            CircleCode(length, cosets)


def test_positions_are_drawn_uniformly() -> None:
    size = (1 << 31) + (1 << 30)  # a biased draw would hit the lower half twice as often
    found = draw_positions(Xof("test"), size, 4000)
    assert abs(sum(q < 1 << 30 for q in found) - 4000 / 3) < 150
    assert found == sorted(set(found))
    assert draw_positions(Xof("test"), 1, 5) == [0]


def _product(x: list[int], y: list[int]) -> list[int]:
    full = [0] * 11
    for (i, a), (j, b) in itertools.product(enumerate(x), enumerate(y)):
        full[i + j] += a * b
    return [(full[i] + (7 * full[i + 6] if i < 5 else 0)) % P31 for i in range(6)]


def _some(n: int, name: str) -> U64:
    return extension.drawn(Xof("test", name.encode()), n)


def test_products_of_the_extension_are_those_of_polynomials() -> None:
    x, y = _some(50, "x"), _some(50, "y")
    x[:, 0] = y[:, 0] = P31 - 1
    made = extension.multiply(x, y)
    for i in range(50):
        assert _product(x[:, i].tolist(), y[:, i].tolist()) == made[:, i].tolist()
    parts = np.array([[(a * b).sum() % P31 for b in y.astype(object)] for a in x.astype(object)], np.uint32)
    assert np.array_equal(extension.of_products([parts]), extension.total(made))


def test_the_extension_is_a_field() -> None:
    """z^6 - 7 has no factor of degree 2 or 3, since z^(p^2) and z^(p^3) are not z (Rabin's test)."""
    z = np.array([[0], [1], [0], [0], [0], [0]], np.uint64)
    for degree in (1, 2, 3):
        assert not np.array_equal(_to_the(z, P31**degree), z)
    assert np.array_equal(_to_the(z, P31**6), z)
    assert np.array_equal(_to_the(_some(1, "x"), P31**6 - 1), extension.ONE)
    assert [pow(7, (P31 - 1) // q, P31) == 1 for q in (2, 3)] == [False, False]


def _to_the(x: U64, exponent: int) -> U64:
    out = extension.ONE
    while exponent:
        if exponent & 1:
            out = extension.multiply(out, x)
        x, exponent = extension.multiply(x, x), exponent >> 1
    return out


@pytest.mark.parametrize("bits", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_sumcheck_ends_in_the_values_of_the_extensions(bits: int, count: int) -> None:
    f, gs = _some(1 << bits, "f"), [_some(1 << bits, f"g{i}") for i in range(count)]

    def draw(messages: U64) -> U64:
        assert messages.shape == (count, 6, 3)
        return extension.drawn(Xof("round", messages.tobytes()), 1)

    messages, point, at_f, at_gs = sumcheck.proved(f, gs, draw)
    drawn, weights = point[::-1], sumcheck.equality(point)
    assert np.array_equal(extension.total(extension.multiply(weights, f)), at_f)
    for i, (g, at_g) in enumerate(zip(gs, at_gs, strict=True)):
        assert np.array_equal(extension.total(extension.multiply(weights, g)), at_g)
        claim, mine = extension.total(extension.multiply(f, g)), [m[i] for m in messages]
        found = sumcheck.followed(claim, mine, drawn)
        assert found is not None
        assert np.array_equal(found, extension.multiply(at_f, at_g))
        false = extension.add(claim, extension.ONE)
        assert bits == 0 or sumcheck.followed(false, mine, drawn) is None
