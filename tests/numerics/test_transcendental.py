"""Rule 2: every transcendental function within 2 ulp of the true value, as mpmath gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from proofcompute.arithmetic import definition as numerics
from proofcompute.arithmetic.definition import (
    atan,
    cos,
    erf,
    exp,
    log,
    power,
    rope_table,
    sigmoid,
    sin,
    tanh,
)
from proofcompute.arrays import F32
from proofcompute.errors import ExecutionError

BOUND = 2.0


def _rng(key: str) -> np.random.Generator:
    return np.random.default_rng(list(key.encode()))


def binades(low: int, high: int, each: int, *, signed: bool = True) -> F32:
    """Random numbers from every binade 2^low..2^high and both ends of each."""
    rng = _rng(f"{low} {high} {each}")
    mantissas = np.concatenate([[1.0, 2.0 - 2.0**-23], 1.0 + rng.random(each)])
    x = np.ldexp(mantissas[np.newaxis], np.arange(low, high)[:, np.newaxis]).reshape(-1).astype(np.float32)
    return np.concatenate([x, -x]) if signed else x


def between(low: float, high: float, count: int) -> F32:
    return _rng(f"{low} {high}").uniform(low, high, count).astype(np.float32)


def near_multiples_of_quarter_pi(count: int) -> F32:
    """The binary32 numbers beside random and small multiples of pi / 4, up to 2^20."""
    limit = int(2**20 / (np.pi / 4))
    k = np.concatenate([np.arange(1, 40), _rng("circle").integers(1, limit, count)])
    x = (k * (np.pi / 4)).astype(np.float32)
    return np.concatenate([x, np.nextafter(x, np.float32(0)), np.nextafter(x, np.float32(2**20))])


def hardest_multiples() -> F32:
    """The binary32 numbers closest to a multiple of pi / 2, found by going through all of them up to 2^20."""
    k = np.arange(1, 667_544, dtype=np.int64)
    # pi / 2 as two numbers, the first of 33 bits, so that its product with k is exact in binary64
    high = np.float64(int(mpmath.pi / 2 * 2**32)) / 2**32
    low = float(mpmath.pi / 2 - mpmath.mpf(float(high)))
    nearest = (k * high + k * low).astype(np.float32)
    distance = np.abs((nearest.astype(np.float64) - k * high) - k * low)
    worst = np.argsort(distance)[:300]
    return nearest[worst][nearest[worst] <= 2**20]


def ulps(found: F32, args: tuple[F32, ...], true: Callable[..., Any]) -> tuple[float, str]:
    """The largest error in units in the last place of the true value, and where."""
    worst, where = 0.0, ""
    beyond = (2 - mpmath.mpf(2) ** -24) * mpmath.mpf(2) ** 127  # rounds to infinity
    with mpmath.workprec(120):
        for got, *point in zip(found.tolist(), *(a.tolist() for a in args), strict=True):
            t = true(*(mpmath.mpf(v) for v in point))
            exponent = max(mpmath.frexp(t)[1] - 1, -126)
            error = float(abs(mpmath.mpf(got) - t) / mpmath.mpf(2) ** (exponent - 23))
            if got == float("inf") and t >= beyond:
                error = 0.0
            if not error <= worst:
                worst, where = error, repr(point)
    return worst, where


def _true_sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


CIRCLE = np.concatenate([
    binades(-149, 20, 2), between(-30, 30, 500), between(-(2**20), 2**20, 1000),
    near_multiples_of_quarter_pi(400),
    hardest_multiples(), np.array([2**20, -(2**20)], dtype=np.float32),
])  # fmt: skip
FUNCTIONS: dict[str, tuple[Callable[..., F32], Callable[..., Any], F32]] = {
    "exp": (exp, mpmath.exp, np.concatenate([
        binades(-149, 7, 4), between(-105, 89, 1500), between(-104, -86, 500), between(88, 89, 200),
        between(-1, 1, 2000),
    ])),
    "log": (log, mpmath.log, np.concatenate([
        binades(-149, 128, 6, signed=False), between(0.5, 2, 1500), between(0.99, 1.01, 500),
    ])),
    "erf": (erf, mpmath.erf, np.concatenate([
        binades(-149, 5, 4), between(-4.2, 4.2, 1500), between(0.85, 0.95, 500),
    ])),
    "tanh": (tanh, mpmath.tanh, np.concatenate([
        binades(-149, 6, 4), between(-10, 10, 1500), between(0.6, 0.7, 500),
    ])),
    "atan": (atan, mpmath.atan, np.concatenate([
        binades(-149, 127, 4), between(-4, 4, 2000), between(0.99, 1.01, 500),
    ])),
    "sigmoid": (sigmoid, _true_sigmoid, np.concatenate([
        binades(-149, 6, 4), between(-104, 20, 1500), between(-3, 3, 1000), between(-104, -86, 300),
    ])),
    "sin": (sin, mpmath.sin, CIRCLE),
    "cos": (cos, mpmath.cos, CIRCLE),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_two_ulp(name: str, record_property: Callable[[str, object], None]) -> None:
    function, true, points = FUNCTIONS[name]
    worst, where = ulps(function(points), (points,), true)
    record_property("max_ulp", worst)
    print(f"{name}: {worst:.3f} ulp over {points.size} points, at {where}")
    assert worst <= BOUND


def test_power_within_two_ulp() -> None:
    rng = _rng("power")
    base = np.exp2(rng.uniform(-30, 40, 3000)).clip(2**-30, 2**40).astype(np.float32)
    base[:800] = (1 + rng.uniform(-1, 1, 800) * np.exp2(rng.uniform(-23, -1, 800))).astype(np.float32)
    base[800:900], base[900:1000], base[1000:1200] = 2**-30, 2**40, 10000
    steep = 125.9 / np.maximum(np.abs(np.log2(base.astype(np.float64))), 1e-7)
    y = (rng.uniform(-1, 1, base.size) * np.minimum(steep, 2**31)).astype(np.float32)
    y[1000:1200] = -np.arange(200, dtype=np.float32) / np.float32(200)
    y[1300:1350], y[1350:1400] = 0, 1
    worst, where = ulps(power(base, y), (base, y), mpmath.power)
    print(f"power: {worst:.3f} ulp over {base.size} points, at {where}")
    assert worst <= BOUND


def test_power_within_two_ulp_of_any_numbers() -> None:
    """Bases of every exponent, also subnormal, and results from the least subnormal number to overflow."""
    rng = _rng("any power")
    base = np.concatenate([binades(-149, 128, 8, signed=False), 1 + binades(-23, -12, 30)]).astype(np.float32)
    steep = np.abs(np.log2(base.astype(np.float64)))
    y = (rng.uniform(-151, 129, base.size) / np.where(steep == 0, 1, steep)).astype(np.float32)
    worst, where = ulps(power(base, y), (base, y), mpmath.power)
    print(f"power: {worst:.3f} ulp over {base.size} points, at {where}")
    assert worst <= BOUND


WIDE: dict[str, tuple[Callable[[F32], F32], Callable[[Any], Any], float, float]] = {
    "exp": (exp, np.exp, -87.3, 88.7),
    "log": (log, np.log, 1e-3, 1e3),
    "tanh": (tanh, np.tanh, -10, 10),
    "atan": (atan, np.arctan, -3, 3),
    "sigmoid": (sigmoid, lambda x: 1 / (1 + np.exp(-x)), -87, 20),
    "sin": (sin, np.sin, -100, 100),
    "cos": (cos, np.cos, -100, 100),
}


@pytest.mark.parametrize("name", WIDE)
def test_a_quarter_of_a_million_points_against_binary64(name: str) -> None:
    function, true, low, high = WIDE[name]
    points = between(low, high, 1 << 18)
    t = true(points.astype(np.float64))
    unit = np.ldexp(1.0, np.maximum(np.frexp(t)[1] - 1, -126) - 23)
    assert float(np.max(np.abs(function(points).astype(np.float64) - t) / unit)) <= BOUND


def _f(*values: float) -> F32:
    return np.array(values, dtype=np.float32)


def _bits(x: F32) -> Any:
    return np.asarray(x).view(np.uint32).tolist()


def test_exp_at_its_ends() -> None:
    x = _f(np.inf, -np.inf, 3e38, -3e38, 88.72284, 88.72283, -103.97, -104.0, 0.0, -0.0, 1e-45)
    found = exp(x)
    assert np.isinf(found[[0, 2, 4]]).all()
    assert np.isfinite(found[5])
    assert _bits(found[[1, 3, 7]]) == [0, 0, 0]
    assert _bits(found[6:7]) == [1]
    assert _bits(found[8:]) == [0x3F800000] * 3
    assert np.isnan(exp(_f(np.nan))).all()


def test_odd_functions_keep_the_sign_of_zero() -> None:
    for function in (erf, tanh, atan):
        assert _bits(function(_f(0.0, -0.0))) == [0, 0x80000000]
        x = between(-5, 5, 300)
        assert _bits(function(-x)) == _bits(-function(x))
        end = float(np.float32(np.pi / 2)) if function is atan else 1.0
        assert _bits(function(_f(np.inf, -np.inf))) == _bits(_f(end, -end))
        assert np.isnan(function(_f(np.nan))).all()


def test_other_special_values() -> None:
    assert _bits(sigmoid(_f(0.0, -0.0, np.inf, -np.inf))) == _bits(_f(0.5, 0.5, 1, 0))
    assert np.isnan(sigmoid(_f(np.nan))).all()
    assert _bits(sin(_f(0.0, -0.0))) == [0, 0]
    assert _bits(cos(_f(0.0, -0.0))) == [0x3F800000] * 2
    assert _bits(log(_f(1.0))) == [0]
    assert _bits(power(_f(1.0, 7.0, 2.0, 1e-9), _f(2e9, 0.0, -3.0, 1.0))) == _bits(_f(1, 1, 0.125, 1e-9))


@pytest.mark.parametrize("function", [sin, cos])
@pytest.mark.parametrize("value", [1048576.125, -2e6, np.inf, -np.inf, np.nan])
def test_outside_the_domain(function: Callable[[F32], F32], value: float) -> None:
    with pytest.raises(ExecutionError):
        function(_f(0.5, value, 0.5))


def test_log_at_its_ends() -> None:
    assert _bits(log(_f(0.0, -0.0, np.inf))) == _bits(_f(-np.inf, -np.inf, np.inf))
    assert np.isnan(log(_f(-1e-45, -1.0, -np.inf, np.nan))).all()


def test_power_of_special_numbers() -> None:
    """As binary64 gives them; the results of finite numbers within two units in the last place."""
    special = _f(
        *(0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38),
        *(-3e38, 2**24 + 2, 2**23 + 1, -(2**23 + 1), 16777215, -16777215, 1e10, 126.5, -149.5, 1 - 2**-24),
    )
    base, y = (np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        true = np.power(base.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    found = power(base, y)
    assert np.array_equal(np.isnan(found), np.isnan(true))
    whole = ~np.isnan(true)
    apart = np.abs(found.view(np.int32).astype(np.int64) - true.view(np.int32))[whole]
    assert apart.max() <= 2
    assert np.array_equal(np.signbit(found[whole]), np.signbit(true[whole]))


@pytest.mark.parametrize("name", ["exp", "log", "erf", "tanh", "sigmoid", "sin", "cos", "atan"])
def test_any_shape_and_strides_give_the_same_bits(name: str) -> None:
    function = getattr(numerics, name)
    x = between(0.01, 9, 120)
    flat = _bits(function(x))
    assert _bits(function(x.reshape(4, 1, 30))) == np.reshape(flat, (4, 1, 30)).tolist()
    assert _bits(function(x[::3])) == flat[::3]
    assert [_bits(function(v)) for v in x[:9]] == flat[:9]
    assert function(x[:0]).shape == (0,)
    assert function(x).dtype == np.float32


def test_rotary_tables() -> None:
    freqs = _f(1, 0.1, 0.01, 0.001)
    positions = np.array([0, 1, 5, 100_000])
    c, s = rope_table(positions, freqs)
    angles = positions.astype(np.float32)[:, np.newaxis] * freqs
    assert _bits(c) == _bits(cos(angles))
    assert _bits(s) == _bits(sin(angles))
    assert c.shape == (4, 4)
    with pytest.raises(ExecutionError):
        rope_table(np.array([2**20 + 1]), freqs)
