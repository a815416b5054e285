"""Constants of models: real numbers rounded once, checked with another arithmetic of many digits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from proofcompute.errors import InputError
from proofcompute.importers import rope_scaling as rs

BASES = (10_000.0, 500_000.0, 1e6, 1.5, 8_000_000.0, 150000.0)


def _nearest(x: mpmath.mpf) -> int:
    """The bits of the binary32 number nearest to a positive one."""
    candidate = np.float32(float(x))
    near = [np.nextafter(candidate, np.float32(s) * np.inf, dtype=np.float32) for s in (-1, 1)]
    best = min([candidate, *near], key=lambda f: abs(mpmath.mpf(float(f)) - x))
    return int(best.view(np.uint32))


def _plain(base: float, columns: int) -> list[mpmath.mpf]:
    return [mpmath.power(mpmath.mpf(base), mpmath.mpf(-2 * i) / columns) for i in range(columns // 2)]


@pytest.fixture(autouse=True)
def _digits() -> None:
    mpmath.mp.dps = 60


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("columns", [2, 6, 64, 128, 256])
def test_plain_and_linear(base: float, columns: int) -> None:
    expected = _plain(base, columns)
    assert rs.plain(base, columns) == tuple(map(_nearest, expected))
    assert rs.linear(base, columns, 2.5) == tuple(_nearest(f / mpmath.mpf("2.5")) for f in expected)


def test_longrope() -> None:
    factors = [1.0, 1.1, 2.5, 13.0]
    expected = [f / mpmath.mpf(d) for f, d in zip(_plain(10_000.0, 8), factors, strict=True)]
    assert rs.longrope(10_000.0, 8, factors) == tuple(map(_nearest, expected))


@pytest.mark.parametrize("base", BASES)
def test_llama3(base: float) -> None:
    expected = []
    for f in _plain(base, 128):
        wavelength = 2 * mpmath.pi / f
        if wavelength < mpmath.mpf(8192) / 4:
            expected.append(f)
        elif wavelength > 8192:
            expected.append(f / 8)
        else:
            s = (8192 / wavelength - 1) / 3
            expected.append((1 - s) * f / 8 + s * f)
    assert rs.llama3(base, 128, 8.0, 1.0, 4.0, 8192) == tuple(map(_nearest, expected))


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize(("context", "fast", "slow"), [(4096, 32, 1), (16, 32, 1), (1 << 20, 64.5, 0.5)])
@pytest.mark.parametrize("base", BASES)
def test_yarn(base: float, context: int, fast: float, slow: float, truncate: bool) -> None:
    columns = 64

    def pair(turns: float) -> mpmath.mpf:
        inner = mpmath.mpf(context) / (mpmath.mpf(turns) * 2 * mpmath.pi)
        return columns * mpmath.log(inner) / (2 * mpmath.log(mpmath.mpf(base)))

    low, high = pair(fast), pair(slow)
    if truncate:
        low, high = mpmath.floor(low), mpmath.ceil(high)
    low, high = max(low, mpmath.mpf(0)), min(high, mpmath.mpf(columns - 1))
    if low == high:
        high += mpmath.mpf("0.001")
    expected = []
    for i, f in enumerate(_plain(base, columns)):
        ramp = min(max((i - low) / (high - low), mpmath.mpf(0)), mpmath.mpf(1))
        expected.append(f / 40 * ramp + f * (1 - ramp))
    assert rs.yarn(base, columns, 40, context, fast, slow, truncate) == tuple(map(_nearest, expected))


def test_magnitudes_and_roots() -> None:
    assert rs.binary32(rs.yarn_magnitude(40, 0.707)) == _value(mpmath.mpf("0.1") * 0.707 * mpmath.log(40) + 1)
    assert rs.yarn_magnitude(1) == rs.yarn_magnitude(0.5) == 1
    for n in (1, 2, 3, 20, 80, 96, 128, 192, 256, 3072):
        assert rs.root(n) == _value(mpmath.sqrt(n))
        assert rs.inverse_root(n) == _value(1 / mpmath.sqrt(n))


def _value(x: mpmath.mpf) -> float:
    return float(np.uint32(_nearest(x)).view(np.float32))


def _doubles() -> Sequence[float]:
    draw = random.Random(5)
    return [draw.uniform(-1, 1) * 10.0 ** draw.randint(-46, 38) for _ in range(2000)]


def test_rounding_is_that_of_binary32() -> None:
    for x in _doubles():
        assert rs.binary32(x) == float(np.float32(x))
    edges = (
        0.0,
        2.0**-149,
        2.0**-150,
        3 * 2.0**-150,
        2.0**-126,
        16777217.0,
        16777219.0,
        3.4028234663852886e38,
    )
    for x in edges:
        assert rs.binary32(x) == float(np.float32(x))
        assert rs.binary32(-x) == float(np.float32(-x))


def test_there_is_one_rounding() -> None:
    # just above the middle of 1 and the next number, and its nearest binary64 number is the middle
    assert rs.binary32(1 + Fraction(1, 1 << 24) + Fraction(1, 1 << 60)) == 1 + 2.0**-23


@pytest.mark.parametrize("x", [float("inf"), float("nan"), 3.4028236e38, 1e300, 10**400])
def test_numbers_beyond_binary32_are_refused(x: float) -> None:
    with pytest.raises(InputError):
        rs.binary32(x)
