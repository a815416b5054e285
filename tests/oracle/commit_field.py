"""Vectors of field: uniform residues and products, in Python integers."""

from __future__ import annotations

from typing import Any

from oracle.commit_hashing import xof

P31, P61 = 2**31 - 1, 2**61 - 1
Json = Any


def project(y: list[list[int]], s: list[list[int]], p: int) -> list[list[int]]:
    return [[sum(a * b for a, b in zip(row, column, strict=True)) % p for column in s] for row in y]


def field() -> Json:
    sampled = []
    for name, p, size in (("sample31", P31, 4), ("sample61", P61, 8)):
        top = 1 << (8 * size - 1)
        words = [p, 0, top | p, p - 1, top | 5, (1 << (8 * size)) - 1, p + 1, 1]
        kept = [w & p for w in words if w & p != p]
        data = b"".join(w.to_bytes(size, "little") for w in words)
        sampled.append({
            "name": "words equal to p skipped, with and without high bits", "function": name,
            "stream": data.hex(), "shape": [1, len(kept)], "values": [str(v) for v in kept],
        })  # fmt: skip
        stream = xof("vector", [name.encode()], 64)
        some = [int.from_bytes(stream[i : i + size], "little") & p for i in range(0, 6 * size, size)]
        sampled.append({
            "name": "row-major", "function": name, "stream": stream.hex(), "shape": [3, 2],
            "values": [str(v) for v in some],
        })  # fmt: skip
    products = []
    for p, dtypes in ((P31, ("int8", "int16", "int32")), (P61, ("int8", "int16", "int32", "int64"))):
        for dtype in dtypes:
            least = -(1 << (int(dtype[3:]) - 1))
            y = [[least, -1 - least, -1, 0, 1], [least] * 5, [-1 - least] * 5, [2, -3, 5, -7, 11]]
            s = [[p - 1] * 5, [0, 1, 2, p // 2, p - 2]]
            products.append({
                "p": str(p), "dtype": dtype, "y": [[str(v) for v in row] for row in y],
                "s": [[str(v) for v in row] for row in s],
                "project": [[str(v) for v in row] for row in project(y, s, p)],
                "fold_of_transposed": [[str(v) for v in row] for row in zip(*project(y, s, p), strict=True)],
            })  # fmt: skip
    return {"sampled": sampled, "products": products, "checks": checks()}


def checks() -> Json:
    """Claims for a product X W, each with whether Y S = X (W S) over the field and whether it is in bound."""
    x, w = [[127, -127, 5], [-1, 0, 3]], [[1, -2], [127, 127], [-127, 9]]
    y = [[sum(a * row[j] for a, row in zip(xr, w, strict=True)) for j in range(2)] for xr in x]
    cases = []
    for p, dtype, bound in ((P31, "int32", 2**30 - 1), (P61, "int64", 2**60 - 1)):
        s = [[3, p - 5], [p // 3, 17]]
        right = project(x, [list(c) for c in zip(*project(w, s, p), strict=True)], p)
        claims: dict[str, list[list[int]]] = {"honest": y}
        for name, (i, j, delta) in {
            "one element one more": (0, 0, 1), "one element one less": (1, 1, -1),
            "a bit flipped": (0, 1, 1 << 20),
            "one element plus p: the field cannot see it, the bound must": (1, 0, p),
            "one element minus p: the field cannot see it, the bound must": (0, 1, -p),
        }.items():  # fmt: skip
            claims[name] = [list(row) for row in y]
            claims[name][i][j] += delta
        claims["columns swapped"] = [row[::-1] for row in y]
        claims["rows swapped"] = y[::-1]
        claims["all zero"] = [[0, 0], [0, 0]]
        claims["negated"] = [[-v for v in row] for row in y]
        # solves e . s = 0 for the first column of S alone: why all columns are evaluated
        e0 = (-s[0][1] * pow(s[0][0], -1, p)) % p
        forged = [[y[0][0] + e0 - (p if e0 > p // 2 else 0), y[0][1] + 1], y[1]]
        claims["an error in the kernel of the first column only"] = forged
        for name, claim in claims.items():
            flat = [v for row in claim for v in row]
            if not all(-(2 ** (int(dtype[3:]) - 1)) <= v < 2 ** (int(dtype[3:]) - 1) for v in flat):
                continue
            left = project(claim, s, p)
            cases.append({
                "name": name, "p": str(p), "dtype": dtype, "x": x, "w": w,
                "s": [[str(v) for v in row] for row in s],
                "claim": [[str(v) for v in row] for row in claim], "equal": left == right,
                "first_column_equal": [r[0] for r in left] == [r[0] for r in right],
                "within_bound": all(abs(v) <= bound for v in flat),
            })  # fmt: skip
    return cases
