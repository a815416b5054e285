"""Enclose a proportion of which k of n trials came out (C. Clopper, E. Pearson, Biometrika 1934).

Of X ~ Binomial(n, p), P(X >= k) is the distribution function of Beta(k, n - k + 1) at p. So the least p under
which k or more are not rarer than t is the quantile of Beta(k, n - k + 1) at t, and the largest one under
which k or fewer are not rarer is 1 less that of Beta(n - k, k + 1). Whatever p is, it lies between them with
probability 1 - 2 t or more. Of real k and n the same quantiles are taken.
"""

from __future__ import annotations

import math

__all__ = ["beta_quantile", "proportion"]


def proportion(k: float, n: float, tail: float) -> tuple[float, float]:
    """Return the interval of a probability of which k of n trials came out, to 10^-12.

    Args:
        k: how many came out, at least 0. None of 0, or fewer than 0, bounds nothing from below.
        n: how many trials there were; k of n or more bounds nothing from above.
        tail: the probability with which it lies below the interval, at most, and that above it.
    """
    low = 0.0 if k <= 0 else beta_quantile(tail, k, n - k + 1)
    high = 1.0 if k >= n else 1 - beta_quantile(tail, n - k, k + 1)
    return low, high


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return x with P(X <= x) = p for X ~ Beta(a, b), a and b above 0, to 10^-12."""
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(200):
        found = _beta_cdf(x, a, b) - p
        low, high = (x, high) if found < 0 else (low, x)
        density = math.exp(_log_front(x, a, b)) / (x * (1 - x)) if 0 < x < 1 else 0.0
        step = found / density if density > 0 else math.inf  # Newton's, within what halving allows
        if high - low < 1e-13 or abs(step) < 1e-14:
            break
        x = x - step if low < x - step < high else (low + high) / 2
    return x


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function (DLMF 8.17.22), by its continued fraction."""
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _beta_cdf(1 - x, b, a)
    front = math.exp(_log_front(x, a, b))
    # Lentz's method, with 1 + d_1 / (1 + d_2 / (1 + ...)).
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d, tiny)
            c = _away(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value / a


def _log_front(x: float, a: float, b: float) -> float:
    """Return the logarithm of x^a (1 - x)^b / B(a, b)."""
    whole = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return whole + a * math.log(x) + b * math.log1p(-x)


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
