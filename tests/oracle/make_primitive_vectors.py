"""Makes the vectors of the scalar functions of primitives. The oracle imports nothing from proofcompute.

Run in ``tests/``: ``python -m oracle.make_primitive_vectors vectors``. Every run writes the same bytes.

A case names a function, the types of its arguments, and the type of its result. Each point lists arguments
and then the result, or null where there is none. A binary32 number is written as its bit pattern, a NaN as
0x7FC00000, and a bool as 0 or 1.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from oracle import numerics_binary32 as b32
from oracle.make_numerics_vectors import EXTREME, INF, NAN, SUBNORMAL, ZEROS, Draw
from oracle.primitive_scalars import COMPARED, FLOATS, TRUTH, WHOLE, WIDTHS, NoResult, applied, ends

Json = Any
TYPES = ("f32", *WIDTHS, "bool")
POINTS = 24
SPECIAL = [
    *(*ZEROS, *SUBNORMAL, *EXTREME, INF, -INF, NAN, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, 3.0, -3.0, 126.5),
    *(-128.5, 255.5, 256.0, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 2.0**20, 2.0**24, 129.0, -151.0, 0.875),
]


def signatures() -> Iterator[tuple[str, tuple[str, ...], str]]:
    for name, function in FLOATS.items():
        two = name in ("add", "sub", "mul", "div", "rem", "min", "max", "pow")
        assert callable(function)
        yield name, ("f32",) * (2 if two else 1), "f32"
    for dtype in WIDTHS:
        for name in WHOLE:
            yield name, (dtype,) * (1 if name in ("neg", "abs", "not") else 2), dtype
        for name in ("shl", "shr"):
            yield name, (dtype, dtype), dtype
    for dtype, name in product(("f32", *WIDTHS), COMPARED):
        yield name, (dtype, dtype), "bool"
    for name in TRUTH:
        yield name, ("bool",) * (1 if name == "not" else 2), "bool"
    for dtype in TYPES:
        yield "select", ("bool", dtype, dtype), dtype
    for of, to in product(TYPES, TYPES):
        yield "cast", (of,), to
    for of, to in (("f32", "i32"), ("i32", "f32"), ("i8", "u8"), ("u8", "i8")):
        yield "bitcast", (of,), to


def drawn(d: Draw, dtype: str, count: int) -> list[Any]:
    if dtype == "bool":
        return [bool(x) for x in d.ints(0, 1, count)]
    if dtype == "f32":
        pools = SPECIAL, d.wide(count), d.between(-10, 10, count), d.between(-300, 300, count)
        return [
            pools[k][i % len(pools[k])]
            for i, k in zip(d.ints(0, 999, count), d.ints(0, 3, count), strict=True)
        ]
    low, high = ends(dtype)
    special = [low, low + 1, high, 0, 1, 2, 7, 31, 32, 63, 64, *([-1, -2, -7] if low else [200])]
    whole = [low + (d.random.getrandbits(64) % (high - low + 1)) for _ in range(count)]
    pick = d.ints(0, 2 * len(special), count)
    return [special[i] if i < len(special) else x for i, x in zip(pick, whole, strict=True)]


def written(x: Any, dtype: str) -> int:
    return b32.bits(x) if dtype == "f32" else int(x)


def cases() -> Iterator[Json]:
    for function, dtypes, to in signatures():
        d = Draw(f"{function} {dtypes} {to}")
        columns = [drawn(d, dtype, POINTS if dtype != "f32" else 2 * POINTS) for dtype in dtypes]
        if function in ("sin", "cos"):
            columns = [[x for x in columns[0] if abs(x) < 2.0**21 or math.isnan(x)]]
        points = []
        for args in zip(*columns, strict=False):
            try:
                found = written(applied(function, dtypes, to, args), to)
            except NoResult:
                found = None
            points.append([*(written(x, t) for x, t in zip(args, dtypes, strict=True)), found])
        yield {"function": function, "types": list(dtypes), "to": to, "points": points}


def main(folder: Path) -> None:
    text = json.dumps(list(cases()), sort_keys=True, separators=(",", ":"))
    (folder / "primitives.json").write_text(text.replace("},{", "},\n{") + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
