"""Quantiser, products, norms, attention and sampler of numerics, by scalar loops on exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from oracle.numerics_binary32 import add, div, f32, mul, rint, sqrt, sub
from oracle.numerics_functions import exp, tanh

Row = list[float]
Ints = list[int]
PART = 32768


class Refused(Exception):
    """The arithmetic has no result."""


def tree(row: Row) -> float:
    width = 1
    while width < len(row):
        width *= 2
    level = row + [0.0] * (width - len(row))
    while len(level) > 1:
        half = len(level) // 2
        level = [add(level[i], level[i + half]) for i in range(half)]
    return add(level[0], 0.0) if level else 0.0


def limbs_of(q: int, limbs: int) -> Ints:
    if limbs == 1:
        return [q]
    high = (q + 128) // 256
    return [high, q - 256 * high]


def quantise(row: Row, limbs: int) -> tuple[list[Ints], float]:
    """Limbs, high first, and the scale."""
    if not all(map(math.isfinite, row)):
        raise Refused
    largest = 127.0 if limbs == 1 else 32639.0
    a = max(map(abs, row), default=0.0)
    r = div(largest, a)
    if not math.isfinite(r):
        return [[0] * len(row) for _ in range(limbs)], 0.0
    split = [limbs_of(int(rint(mul(x, r))), limbs) for x in row]
    return [[s[i] for s in split] for i in range(limbs)], div(a, largest)


def linear(row: Row, w: list[list[Ints]], scale: Row, bias: Row | None, limbs: int) -> Row:
    """w[limb][channel][column]."""
    q, s = quantise(row, limbs)
    whole = [sum(x << 8 * (limbs - 1 - i) for i, x in enumerate(column)) for column in zip(*q, strict=True)]
    out = []
    for j in range(len(scale)):
        channel = [
            sum(x << 8 * (len(w) - 1 - i) for i, x in enumerate(c))
            for c in zip(*(v[j] for v in w), strict=True)
        ]
        y = mul(f32(sum(a * b for a, b in zip(whole, channel, strict=True))), mul(s, scale[j]))
        out.append(y if bias is None else add(y, bias[j]))
    return out


def _root(row: Row, eps: float) -> float:
    return sqrt(add(div(tree([mul(x, x) for x in row]), f32(len(row))), eps))


def rms_norm(row: Row, w: Row, eps: float) -> Row:
    root = _root(row, eps)
    return [mul(div(x, root), v) for x, v in zip(row, w, strict=True)]


def layer_norm(row: Row, w: Row, b: Row, eps: float) -> Row:
    mean = div(tree(row), f32(len(row)))
    c = [sub(x, mean) for x in row]
    root = _root(c, eps)
    return [add(mul(div(x, root), v), u) for x, v, u in zip(c, w, b, strict=True)]


def rope(row: Row, cos: Row, sin: Row, heads: int, interleaved: bool) -> Row:
    out, dh, r = list(row), len(row) // heads, len(cos)
    for h in range(heads):
        for i in range(r):
            p, q = (h * dh + 2 * i, h * dh + 2 * i + 1) if interleaved else (h * dh + i, h * dh + i + r)
            a, b = row[p], row[q]
            out[p] = sub(mul(a, cos[i]), mul(b, sin[i]))
            out[q] = add(mul(a, sin[i]), mul(b, cos[i]))
    return out


def whole(x: Any) -> Ints:
    """The integers of one head: columns, or two rows of limbs."""
    return [256 * high + low for high, low in zip(*x, strict=True)] if isinstance(x[0], list) else x


class Options(NamedTuple):
    limbs: int = 1
    softcap: float = 0.0
    sinks: list[float] | None = None
    latent: int = 0


def score(head: Row, key: Any, scales: Row, how: Options) -> float:
    """q . k in parts, each with scales of its own."""
    keys, cuts = whole(key), [0, how.latent, len(head)] if how.latent else [0, len(head)]
    sums = []
    for i, (a, b) in enumerate(pairwise(cuts)):
        limbs, sq = quantise(head[a:b], how.limbs)
        q8 = limbs[0] if how.limbs == 1 else whole(limbs)
        acc = sum(x * y for x, y in zip(q8, keys[a:b], strict=True))
        sums.append(mul(f32(acc), mul(sq, scales[i])))
    return add(*sums) if how.latent else sums[0]


def attend(
    q: Row, heads: int, kq: Any, ks: Any, vq: Any, vs: Any, t: int, scale: float, window: int,
    how: Options = Options(),
) -> Row:  # fmt: skip
    """One row t: kq[position][head][column] or [position][head][limb][column], ks[position][head], so for v.

    With latent, ks[position][head] is two scales, and values are the first columns of the keys.
    """
    dh, group = len(q) // heads, heads // len(ks[0])
    seen = range(max(0, t + 1 - window) if window else 0, t + 1)
    if how.latent:
        vs = [[g[0] for g in row] for row in ks]
    else:
        ks = [[[g] for g in row] for row in ks]
    for j in seen:
        given = [s for g in ks[j] for s in g] + vs[j]
        if not all(math.isfinite(s) and s >= 0 for s in given):
            raise Refused
    if not all(map(math.isfinite, how.sinks or [])):
        raise Refused
    out: Row = []
    for h in range(heads):
        g = h // group
        x = {j: mul(score(q[h * dh : (h + 1) * dh], kq[j][g], ks[j][g], how), scale) for j in seen}
        if not all(map(math.isfinite, x.values())):
            raise Refused
        if how.softcap:
            x = {j: mul(tanh(div(v, how.softcap)), how.softcap) for j, v in x.items()}
        sink = [] if how.sinks is None else [how.sinks[h]]
        top = max([*x.values(), *sink])
        e = [exp(sub(x[j], top)) if j in x else 0.0 for j in range(t + 1)]
        total = tree(e)
        for s in sink:
            total = add(total, exp(sub(s, top)))
        values = {j: whole(kq[j][g])[: how.latent] if how.latent else whole(vq[j][g]) for j in x}
        two = isinstance((kq if how.latent else vq)[t][g][0], list)
        w = [mul(e[j], vs[j][g]) if j in x and e[j] > 0 else 0.0 for j in range(t + 1)]
        largest, levels = max(w), 67108864.0 if two else 32639.0
        columns = len(values[t])
        r = div(levels, largest)
        if not math.isfinite(r):
            out += [0.0] * columns
            continue
        p = [int(rint(mul(v, r))) for v in w]
        for c in range(columns):
            acc = sum(p[j] * values[j][c] for j in x)
            out.append(div(mul(f32(acc), div(largest, levels)), total))
    return out


class How(NamedTuple):
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


def sample(logits: Row, history: Ints, how: How, draw: int) -> int:
    if not all(map(math.isfinite, logits)):
        raise Refused
    x = list(logits)
    if how.repetition_penalty != 1:
        for token in set(history):
            change = div if x[token] > 0 else mul
            x[token] = change(x[token], how.repetition_penalty)
            if not math.isfinite(x[token]):
                raise Refused
    order = sorted(range(len(x)), key=lambda i: (-x[i], i))
    if how.temperature == 0:
        return order[0]
    top = x[order[0]]
    mass = [int(rint(mul(exp(div(sub(v, top), how.temperature)), 2.0**30))) for v in x]
    if how.top_k:
        order = order[: how.top_k]
    total = sum(mass[i] for i in order)
    kept, reached = [], 0
    for i in order:
        kept.append(i)
        reached += mass[i]
        if reached >= Fraction(how.top_p) * total:
            break
    r = draw * reached >> 128
    for i in kept:
        r -= mass[i]
        if r < 0:
            return i
    raise AssertionError


__all__ = [
    "How",
    "Options",
    "Refused",
    "attend",
    "layer_norm",
    "linear",
    "quantise",
    "rms_norm",
    "rope",
    "sample",
    "tree",
]
