"""Makes the vectors of numerics. The oracle imports nothing from proofcompute.

Run in ``tests/``: ``python -m oracle.make_numerics_vectors vectors``. Every run writes the same bytes.

A binary32 array is written as ``{"f32": [shape, hex]}``, eight hexadecimal digits for each number; an array
of integers as ``{"int8": [shape, list]}``. A result of ``null`` means that the operation refuses.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

from oracle import numerics_binary32 as b32
from oracle import numerics_functions as functions
from oracle import numerics_rows as rows
from oracle.numerics_rows import How, Options, Refused

Json = Any
NAN, INF = float("nan"), float("inf")
ZEROS = [0.0, -0.0]
SUBNORMAL = [b32.from_bits(p) for p in (1, 0x80000001, 0x7FFFFF, 0x807FFFFF, 0x400000)]
EXTREME = [b32.from_bits(p) for p in (0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F7FFFFF, 0x3F800001)]


def _nearest(x: float) -> float:
    return b32.rounded(Fraction(x)) if x else x


class Draw:
    """Numbers from a seeded generator; ``getrandbits`` is the same in every version of Python."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def ints(self, low: int, high: int, count: int) -> list[int]:
        return [low + self.random.getrandbits(40) % (high - low + 1) for _ in range(count)]

    def between(self, low: float, high: float, count: int) -> list[float]:
        return [_nearest(low + (high - low) * self.random.getrandbits(40) / 2**40) for _ in range(count)]

    def wide(self, count: int) -> list[float]:
        """Any finite bit pattern."""
        patterns = [self.random.getrandbits(32) for _ in range(count)]
        return [b32.from_bits(p if p >> 23 & 255 != 255 else p & 0x807FFFFF) for p in patterns]

    def mixed(self, count: int) -> list[float]:
        """Ordinary numbers, with zeros, subnormals and outliers among them."""
        pool = [*ZEROS, *SUBNORMAL, 1000.0, -0.5]
        pick = self.ints(0, 2 * len(pool), count)
        return [
            pool[i] if i < len(pool) else x for i, x in zip(pick, self.between(-3, 3, count), strict=True)
        ]


# -- writing ---------------------------------------------------------------------------------------------
def _flat(nested: Any) -> tuple[list[int], list[Any]]:
    if not isinstance(nested, list):
        return [], [nested]
    parts = [_flat(x) for x in nested]
    shape = parts[0][0] if parts else []
    return [len(nested), *shape], [x for _, values in parts for x in values]


def floats(nested: Any) -> Json:
    shape, values = _flat(nested)
    return {"f32": [shape, "".join(f"{b32.bits(x):08x}" for x in values)]}


def ints(kind: str, nested: Any) -> Json:
    shape, values = _flat(nested)
    return {kind: [shape, values]}


def pairs(function: Callable[..., float], *columns: list[float]) -> Json:
    found = [function(*point) for point in zip(*columns, strict=True)]
    return {"args": [floats(c) for c in columns], "result": floats(found)}


def or_null(make: Callable[[], Json]) -> Json:
    try:
        return make()
    except Refused:
        return None


# -- vectors ---------------------------------------------------------------------------------------------
def elementary() -> Json:
    d = Draw("elementary")
    ends = [*ZEROS, *SUBNORMAL, *EXTREME, INF, -INF, NAN, 1.0, -1.0]
    every = [*ends, *d.wide(20)]
    a, b = [x for x in ends for _ in ends] + d.wide(40), ends * len(ends) + d.wide(40)
    line = [*every, *d.between(-10, 10, 40), *d.between(-1, 1, 30)]
    circle = [*ZEROS, *SUBNORMAL, 2.0**20, -(2.0**20), *d.between(-7, 7, 30), *d.between(0, 2**20, 30)]
    circle += [_nearest(k * 1.5707963267948966) for k in (1, 2, 3, 4, 355, 710, 1000, 66754, 667543)]
    steps = [-104.5, -104.0, -103.97, -103.28, -87.5, -87.33, 88.72283, 88.72284, 89.0, 0.34657, 0.34658]
    base = [10000.0] * 16 + [2.0**-30, 2.0**40, 1.0, 1.0, b32.from_bits(0x3F800001), *d.between(0.5, 9, 20)]
    exponent = [_nearest(-i / 16) for i in range(16)] + [4.0, -3.0, 0.0, 2e9, 5e8, *d.between(-20, 20, 20)]
    positive = [x for x in (*SUBNORMAL, *EXTREME, *d.wide(40), *d.between(0.5, 2, 30), 1.0) if x > 0]
    return {
        "add": pairs(b32.add, a, b),
        "multiply": pairs(b32.mul, a, b),
        "divide": pairs(b32.div, a, b),
        "sqrt": pairs(b32.sqrt, [*every, *d.between(0, 9, 20)]),
        "rint": pairs(b32.rint, [*every, 0.5, 1.5, 2.5, -0.5, -2.5, 8388607.5, 8388609.0]),
        "exp": pairs(functions.exp, [*line, *map(_nearest, steps), *d.between(-110, 90, 40)]),
        "log": pairs(functions.log, positive),
        "erf": pairs(functions.erf, [*line, *map(_nearest, (0.875, 0.8750001, 3.9, 4.0, 4.1))]),
        "tanh": pairs(functions.tanh, [*line, 0.625, _nearest(0.6250001), 9.0, 44.5]),
        "sigmoid": pairs(functions.sigmoid, [*line, *map(_nearest, steps), *d.between(-110, 20, 20)]),
        "sin": pairs(functions.sin, circle),
        "cos": pairs(functions.cos, circle),
        "power": pairs(functions.power, base, exponent),
        "gelu": pairs(functions.gelu, line),
    }


def _matrix(n: int, m: int, make: Callable[[int], list[float]]) -> list[list[float]]:
    return [make(m) for _ in range(n)]


def _int8s(d: Draw, *shape: int) -> Any:
    if len(shape) == 1:
        return [
            (-128, 127, x)[min(i, 2)]
            for i, x in zip(d.ints(0, 9, shape[0]), d.ints(-128, 127, shape[0]), strict=True)
        ]
    return [_int8s(d, *shape[1:]) for _ in range(shape[0])]


def _inputs(d: Draw) -> Iterator[tuple[str, list[list[float]]]]:
    yield "ordinary", _matrix(3, 9, lambda m: d.between(-2, 2, m))
    yield "mixed", _matrix(3, 16, d.mixed)
    yield "every exponent", _matrix(4, 7, d.wide)
    yield "signed zeros", [[0.0, -0.0, -0.0], [-0.0, -0.0, -0.0]]
    yield "subnormal", [SUBNORMAL, [1e-40 * i for i in map(_nearest, d.between(-9, 9, 5))]]
    yield "extreme", [EXTREME, [*EXTREME[2:4], 0.0, 1.0, -1.0, 0.0]]
    yield "one element", [[3.0], [-0.0], [b32.from_bits(1)], [b32.from_bits(0x7F7FFFFF)]]
    yield (
        "Q / a just finite and just infinite",
        [[_nearest(x), 0.0] for x in (3.7e-37, 3.74e-37, 9.5e-35, 9.6e-35)],
    )
    yield (
        "ties",
        [[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5], [32639.0, 128.0, 127.5, -128.5, 127.0, -129.0, 383.5]],
    )
    yield "not a number", [[1.0, NAN], [1.0, 2.0]]
    yield "infinite", [[1.0, 2.0], [-INF, 0.0]]


def _rounded(rows_: list[list[float]]) -> list[list[float]]:
    return [[x if x != x or abs(x) == INF else _nearest(x) for x in row] for row in rows_]


def row_wise() -> Json:
    d = Draw("rows")
    out: dict[str, list[Json]] = {
        name: [] for name in ("quantise", "linear", "rms_norm", "layer_norm", "rope", "gate", "tree_sum")
    }
    for name, x in ((name, _rounded(x)) for name, x in _inputs(d)):
        m, given = len(x[0]), {"name": name, "x": floats(x)}
        for limbs in (1, 2):

            def quantised(limbs: int = limbs, x: list[list[float]] = x) -> Json:
                found = [rows.quantise(row, limbs) for row in x]
                q = [[f[0][i] for f in found] for i in range(limbs)]
                return [ints("int8", q), floats([f[1] for f in found])]

            out["quantise"].append({**given, "limbs": limbs, "result": or_null(quantised)})
            for w_limbs in (1, 2):
                w, scale = _int8s(d, w_limbs, 3, m), d.between(0.001, 0.02, 3)
                bias = d.mixed(3) if w_limbs == limbs else None

                def multiplied(
                    limbs: int = limbs, x: Any = x, w: Any = w, scale: Any = scale, bias: Any = bias
                ) -> Json:
                    return floats([rows.linear(row, w, scale, bias, limbs) for row in x])

                out["linear"].append({
                    **given, "limbs": limbs, "w": ints("int8", w), "scale": floats(scale),
                    "bias": None if bias is None else floats(bias), "result": or_null(multiplied),
                })  # fmt: skip
        w, b = d.between(-2, 2, m), d.mixed(m)
        out["tree_sum"].append({**given, "result": floats([rows.tree(row) for row in x])})
        for eps in (_nearest(1e-5), 0.0):
            norm = {**given, "w": floats(w), "eps": floats(eps)}
            out["rms_norm"].append({**norm, "result": floats([rows.rms_norm(row, w, eps) for row in x])})
            normed = [rows.layer_norm(row, w, b, eps) for row in x]
            out["layer_norm"].append({**norm, "b": floats(b), "result": floats(normed)})
        u = _matrix(len(x), m, d.mixed)
        gated = [
            [functions.gate(*point) for point in zip(*both, strict=True)] for both in zip(x, u, strict=True)
        ]
        out["gate"].append({**given, "u": floats(u), "result": floats(gated)})
    for heads, dh, r in ((1, 2, 1), (2, 8, 4), (3, 5, 2)):
        for interleaved in (False, True):
            x = [d.mixed(heads * dh), d.wide(heads * dh)]
            c, s = _matrix(2, r, lambda m: d.between(-1, 1, m)), _matrix(2, r, d.mixed)
            found = [rows.rope(*three, heads, interleaved) for three in zip(x, c, s, strict=True)]
            out["rope"].append({
                "name": f"{heads} heads of {dh}, {r} pairs", "x": floats(x), "cos": floats(c),
                "sin": floats(s),
                "heads": heads, "interleaved": interleaved, "result": floats(found),
            })  # fmt: skip
    return out


def attention() -> Json:
    out = []
    changes: list[tuple[str, tuple[int, int, int, int, int, int], float, str]] = [
        ("one position", (1, 1, 4, 1, 0, 0), 0.5, ""),
        ("grouped heads", (4, 2, 4, 2, 5, 0), 0.5, ""),
        ("odd head", (3, 1, 5, 2, 7, 0), 0.25, ""),
        ("window", (2, 2, 4, 3, 9, 4), 0.5, ""),
        ("window of one", (2, 1, 4, 2, 3, 1), 0.5, ""),
        ("sharp", (2, 1, 4, 2, 6, 0), 200.0, ""),
        ("falling", (2, 1, 4, 2, 6, 0), -2.0, ""),
        ("zero query", (2, 1, 4, 1, 4, 0), 0.5, "q zero"),
        ("zero values' scales", (2, 1, 4, 1, 4, 0), 0.5, "vs zero"),
        ("subnormal values' scales", (2, 1, 4, 1, 4, 0), 0.5, "vs subnormal"),
        ("largest values' scale", (2, 1, 4, 1, 4, 0), 0.5, "vs huge"),
        ("negative value's scale", (2, 1, 4, 1, 4, 0), 0.5, "vs negative"),
        ("key's scale not a number", (2, 1, 4, 1, 4, 0), 0.5, "ks nan"),
        ("infinite score", (2, 1, 4, 1, 4, 0), EXTREME[2], "ks huge"),
    ]
    news = {"zero": 0.0, "subnormal": SUBNORMAL[2], "huge": EXTREME[2], "negative": -0.01, "nan": NAN}
    for name, (heads, kv, dh, n, first, window), scale, change in changes:
        d, t = Draw(f"attention {name}"), first + n
        q = [d.between(-2, 2, heads * dh) for _ in range(n)]
        kq, vq = _int8s(d, t, kv, dh), _int8s(d, t, kv, dh)
        ks, vs = ([d.between(0.001, 0.02, kv) for _ in range(t)] for _ in range(2))
        which, _, value = change.partition(" ")
        if change:
            new = news[value]
            target = {"q": q, "vs": vs, "ks": ks}[which]
            target[0] = [new] * len(target[0])
            if value in ("zero", "subnormal"):
                target[1:] = [[new] * len(row) for row in target[1:]]

        def attended(
            q: Any = q,
            heads: int = heads,
            kq: Any = kq,
            ks: Any = ks,
            vq: Any = vq,
            vs: Any = vs,
            first: int = first,
            scale: float = scale,
            window: int = window,
        ) -> Json:
            places = enumerate(q, first)
            return floats([rows.attend(row, heads, kq, ks, vq, vs, t, scale, window) for t, row in places])

        out.append({
            "name": name, "q": floats(q), "kq": ints("int8", kq), "ks": floats(ks), "vq": ints("i8", vq),
            "vs": floats(vs), "first": first, "scale": floats(scale), "window": window,
            "result": or_null(attended),
        })  # fmt: skip
    return out


def attention_options() -> Json:
    """Attention with options: limbs of queries, of keys, of values (0: in the keys), and the rest."""
    forms: dict[str, tuple[int, int, int, float, float | None, int, int, float]] = {
        "two limbs": (2, 2, 2, 0.0, None, 0, 0, 0.25),
        "two limbs of keys": (1, 2, 1, 0.0, None, 0, 0, 0.25),
        "two limbs of values": (1, 1, 2, 0.0, None, 0, 0, 0.25),
        "two limbs of queries": (2, 1, 1, 0.0, None, 0, 0, 0.25),
        "cap": (1, 1, 1, 1.5, None, 0, 0, 2.0),
        "sinks": (1, 1, 1, 0.0, 0.5, 0, 0, 0.25),
        "sinks far above": (1, 1, 1, 0.0, 200.0, 0, 0, 0.25),
        "all with a window": (2, 2, 2, 0.75, -0.5, 0, 3, 1.0),
        "latent": (1, 1, 0, 0.0, None, 4, 0, 0.25),
        "all with latents": (2, 2, 0, 0.75, 0.25, 4, 3, 1.0),
        "sharp with a cap": (2, 2, 2, 3.0, None, 0, 0, 1e6),
        "infinite score with a cap": (2, 2, 2, 3.0, None, 0, 0, EXTREME[2]),
        "infinite sink": (1, 1, 1, 0.0, INF, 0, 0, 0.25),
    }
    out = []
    heads, kv, dh, columns, n, first = 4, 2, 7, 5, 2, 6
    for name, (limbs, k_limbs, v_limbs, cap, sink, latent, window, scale) in forms.items():
        d, t = Draw(f"attention with {name}"), first + n

        def limbed(d: Draw, t: int, count: int, width: int) -> Json:
            return _int8s(d, t, kv, width) if count == 1 else [_int8s(d, kv, 2, width) for _ in range(t)]

        q = [d.between(-2, 2, heads * dh) for _ in range(n)]
        kq = limbed(d, t, k_limbs, dh)
        vq = limbed(d, t, v_limbs, columns) if v_limbs else None
        ks: Any = [d.between(0.001, 0.02, kv) for _ in range(t)]
        vs = None if latent else [d.between(0.001, 0.02, kv) for _ in range(t)]
        if latent:
            ks = [[d.between(0.001, 0.02, 2) for _ in range(kv)] for _ in range(t)]
        sinks = None if sink is None else [b32.add(v, sink) for v in d.between(-1, 1, heads)]
        how = Options(limbs, cap, sinks, latent)

        def attended(
            q: Any = q,
            kq: Any = kq,
            ks: Any = ks,
            vq: Any = vq,
            vs: Any = vs,
            scale: float = scale,
            window: int = window,
            how: Options = how,
        ) -> Json:
            places = enumerate(q, first)
            return floats(
                [rows.attend(row, heads, kq, ks, vq, vs, t, scale, window, how) for t, row in places]
            )

        out.append({
            "name": name, "q": floats(q), "kq": ints("int8", kq), "ks": floats(ks),
            "vq": vq and ints("int8", vq), "vs": vs and floats(vs), "first": first, "scale": floats(scale),
            "window": window, "limbs": limbs, "softcap": floats(cap), "sinks": sinks and floats(sinks),
            "latent": latent, "result": or_null(attended),
        })  # fmt: skip
    return out


def sampler() -> Json:
    d, out = Draw("sampler"), []
    hows = [
        How(), How(1.0), How(_nearest(0.7), 3), How(1.5, 0, _nearest(0.8)),
        How(_nearest(0.3), 5, 0.5, _nearest(1.3)),
        How(repetition_penalty=4.0), How(2.0, 2, 1.0, 0.5), How(b32.from_bits(1), 0, b32.from_bits(1)),
    ]  # fmt: skip
    inputs: list[tuple[str, list[float], list[int]]] = [
        ("ordinary", d.between(-4, 4, 12), [3, 3, 0, 11]),
        ("ties and signed zeros", [0.0, -0.0, 1.0, 1.0, -1.0, 1.0, -0.0], [2, 1]),
        ("far apart", [*EXTREME[2:4], 0.0, 5.0], []),
        ("one token", [-3.0], [0]),
        ("equal", [2.5] * 9, [4]),
        ("overflows with a penalty", [EXTREME[3], 1.0], [0]),
        ("not a number", [1.0, NAN], []),
        ("infinite", [1.0, INF], []),
    ]
    for name, logits, history in inputs:
        for how in hows:
            for draw in (0, 2**128 - 1, d.random.getrandbits(128)):

                def chosen(
                    logits: Any = logits, history: Any = history, how: How = how, draw: int = draw
                ) -> Json:
                    return rows.sample(logits, history, how, draw)

                out.append({
                    "name": name, "logits": floats(logits), "history": history, "how": list(how),
                    "draw": f"{draw:032x}",
                    "result": or_null(chosen),
                })  # fmt: skip
    return out


def packing() -> Json:
    d, out = Draw("packing"), []
    for bits in (1, 2, 7, 8, 9, 17, 31, 32):
        values = [-(1 << (bits - 1)), (1 << (bits - 1)) - 1, -1 if bits > 0 else 0, 0]
        values += d.ints(values[0], values[1], 3)
        stream = reduce(
            lambda whole, pair: whole | (pair[1] % (1 << bits)) << bits * pair[0], enumerate(values), 0
        )
        size = -(-bits * len(values) // 8)
        data = stream.to_bytes(size, "little").hex()
        out.append({"name": "round trip", "bits": bits, "values": values, "data": data})
        refused = {"one byte short": data[:-2], "one byte more": data + "00"}
        if bits * len(values) % 8:
            refused["a bit of padding set"] = data[:-2] + f"{int(data[-2:], 16) | 128:02x}"
        out += [
            {"name": n, "bits": bits, "values": values, "data": v, "refused": True}
            for n, v in refused.items()
        ]
    return out


def numerics() -> Json:
    return {
        "attention": attention(), "attention_options": attention_options(), "elementary": elementary(),
        "packing": packing(), "rows": row_wise(),
        "sampler": sampler(),
    }  # fmt: skip


def main(folder: Path) -> None:
    text = json.dumps(numerics(), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    # one case a line, so that a difference can be read
    (folder / "numerics.json").write_text(text.replace('},{"', '},\n{"') + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
