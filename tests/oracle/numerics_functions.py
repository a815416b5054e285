"""The transcendental functions of numerics, one scalar operation after another, on exact fractions.

Written from the documented sequences; the coefficients are stated here a second time.
"""

from __future__ import annotations

import math

from oracle.numerics_binary32 import add, bits, div, f32, from_bits, mul, rint, scaled, sub


def _table(text: str) -> list[float]:
    return [from_bits(int(word, 16)) for word in text.split()]


EXP_P = _table("3F000000 3E2AAA48 3D2AAA5F 3C091D7F 3AB6BE4F")
LOG_R = _table("3F2AAAAA 3ECCCE13 3E91E9EB 3E789F33")
ERF_P = _table("3E0375D3 BEC09377 3DE70DF8 BCDB5125 3BA3E364 BA1E2F3E")
ERFC_P = _table("BE03B5B9 BF22A032 BDD935CD 3CC163FC BB69DA0B 399F8FD2 B71D213E")
TANH_P = _table("BEAAAA9A 3E0883B1 BD5C21CD 3CA92994 BBBB4EFC")
HALF_PI = _table("3FC91000 B6957800 2E85A400 A6F72C00 9EECE800 17451800")
SIN_P = _table("BE2AAAA0 3C088291 B94C46CF")
COS_P = _table("3D2AAAA3 BAB604DD 37CC9C5B")
POWER_R = _table("3ECCCCCC 3E9249DB 3E631EC2 3E484538")
LOG2_E, LOG2_E_LOW, LN2_HIGH, LN2_LOW, LN2, LN2_REST, TWO_THIRDS, TWO_THIRDS_LOW, TWO_OVER_PI = _table(
    "3FB8AA3B 32A57060 3F317200 35BFBE8E 3F317218 B102E308 3F2AAAAB B2AAAAAB 3F22F983"
)
ROOT_BITS = 0x3F3504F3


def horner(x: float, c: list[float]) -> float:
    p = c[-1]
    for a in reversed(c[:-1]):
        p = add(mul(p, x), a)
    return p


def _parts(x: float) -> tuple[float, int]:
    x = min(max(x, -104.0), 89.0)
    k = sub(add(mul(x, LOG2_E), 1.5 * 2.0**23), 1.5 * 2.0**23)
    r = sub(sub(x, mul(k, LN2_HIGH)), mul(k, LN2_LOW))
    return add(mul(mul(r, r), horner(r, EXP_P)), r), int(k)


def exp(x: float) -> float:
    if math.isnan(x):
        return x
    w, k = _parts(x)
    return scaled(add(w, 1.0), k)


def _decompose(x: float) -> tuple[float, float]:
    """x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt 2."""
    k = 0
    if x < 2.0**-126:
        x, k = mul(x, 2.0**23), -23
    b = bits(x) - ROOT_BITS
    return float(k + (b >> 23)), sub(from_bits((b & 0x7FFFFF) + ROOT_BITS), 1.0)


def log(x: float) -> float:
    k, f = _decompose(x)
    s = div(f, add(2.0, f))
    z = mul(s, s)
    rest = mul(z, horner(z, LOG_R))
    h = mul(mul(0.5, f), f)
    inner = add(mul(s, add(h, rest)), mul(k, LN2_LOW))
    return add(add(sub(inner, h), f), mul(k, LN2_HIGH))


def erf(x: float) -> float:
    if math.isnan(x):
        return x
    t = abs(x)
    if t > 0.875:
        c = min(t, 4.0)
        value = sub(1.0, exp(sub(mul(c, horner(c, ERFC_P)), c)))
    else:
        value = add(t, mul(t, horner(mul(t, t), ERF_P)))
    return math.copysign(value, x)


def tanh(x: float) -> float:
    if math.isnan(x):
        return x
    t = abs(x)
    s = mul(t, t)
    if t > 0.625:
        value = sub(1.0, div(2.0, add(exp(add(t, t)), 1.0)))
    else:
        value = add(t, mul(t, mul(s, horner(s, TANH_P))))
    return math.copysign(value, x)


def sigmoid(x: float) -> float:
    if math.isnan(x):
        return x
    w, k = _parts(-abs(x))
    c = add(w, 1.0)
    low = sub(w, sub(c, 1.0))
    e, el = scaled(c, k), scaled(low, k)
    d = add(1.0, e)
    dl = add(sub(e, sub(d, 1.0)), el)
    n, nl = (e, el) if x < 0 else (1.0, 0.0)
    q = div(n, d)
    return add(q, div(sub(nl, mul(q, dl)), d))


def _two_sum(a: float, b: float) -> tuple[float, float]:
    s = add(a, b)
    v = sub(s, a)
    return s, add(sub(a, sub(s, v)), sub(b, v))


def _split(a: float) -> tuple[float, float]:
    c = mul(4097.0, a)
    h = sub(c, sub(c, a))
    return h, sub(a, h)


def _two_product(a: float, b: float) -> tuple[float, float]:
    p = mul(a, b)
    (ah, al), (bh, bl) = _split(a), _split(b)
    return p, add(add(add(sub(mul(ah, bh), p), mul(ah, bl)), mul(al, bh)), mul(al, bl))


def _circle(x: float) -> tuple[float, float, int]:
    k = rint(mul(x, TWO_OVER_PI))
    u = mul(rint(mul(k, 2.0**-10)), 1024.0)
    v = sub(k, u)
    h, low = x, 0.0
    for c in HALF_PI:
        for part in (u, v):
            h, e = _two_sum(h, -mul(part, c))
            low = add(low, e)
    h, low = _two_sum(h, low)
    s = mul(h, h)
    sine = add(h, add(mul(h, mul(s, horner(s, SIN_P))), low))
    q = mul(0.5, s)
    w = sub(1.0, q)
    tail = sub(mul(mul(s, s), horner(s, COS_P)), mul(h, low))
    return sine, add(w, add(sub(sub(1.0, w), q), tail)), int(k) % 4


def sin(x: float) -> float:
    sine, cosine, quadrant = _circle(x)
    return (sine, cosine, -sine, -cosine)[quadrant]


def cos(x: float) -> float:
    sine, cosine, quadrant = _circle(x)
    return (cosine, -sine, -cosine, sine)[quadrant]


def power(base: float, y: float) -> float:
    k, f = _decompose(base)
    d, dl = _two_sum(2.0, f)
    s = div(f, d)
    p, e = _two_product(s, d)
    sl = div(sub(sub(sub(f, p), e), mul(s, dl)), d)
    z, e = _two_product(s, s)
    zl = add(e, mul(add(s, s), sl))
    a, e = _two_sum(TWO_THIRDS, mul(z, horner(z, POWER_R)))
    al = add(e, TWO_THIRDS_LOW)
    w, e = _two_product(z, a)
    wl = add(e, add(mul(z, al), mul(zl, a)))
    c, e = _two_sum(2.0, w)
    cl = add(e, wl)
    g, e = _two_product(s, c)
    gl = add(e, add(mul(s, cl), mul(sl, c)))
    m, e = _two_product(g, LOG2_E)
    ml = add(e, add(mul(g, LOG2_E_LOW), mul(gl, LOG2_E)))
    h, e = _two_sum(k, m)
    low = add(e, ml)
    t, e = _two_product(h, y)
    tl = add(e, mul(low, y))
    if not -151 < t < 129:
        t, tl = (129.0 if t >= 129 else -151.0), 0.0
    n = rint(t)
    r, e = _two_sum(sub(t, n), tl)
    g, a = _two_product(r, LN2)
    gl = add(a, add(mul(r, LN2_REST), mul(e, LN2)))
    v = add(1.0, add(g, add(gl, mul(mul(g, g), horner(g, EXP_P)))))
    return scaled(v, int(n))


def gelu(x: float) -> float:
    return mul(mul(0.5, x), add(1.0, erf(mul(x, from_bits(ROOT_BITS)))))


def gate(g: float, u: float) -> float:
    return mul(div(g, add(1.0, exp(-g))), u)


__all__ = ["cos", "erf", "exp", "f32", "gate", "gelu", "log", "power", "sigmoid", "sin", "tanh"]
