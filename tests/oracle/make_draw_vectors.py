"""Makes ``draws.json``: which cells a seed draws, and audit policies, right and (mostly) wrong.

The oracle imports nothing from proofcompute. In ``tests/``: ``python -m oracle.make_draw_vectors vectors``.
Every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oracle.commit_hashing import xof
from oracle.commit_wire import cbor

Json = Any
Cells = list[tuple[int, int, int]]
KIND = "proofcompute audit policy"
ONE = 2**32
SAMPLES = ((1, 1, 0), (2, 5, 0), (3, 64, 0), (4, 7, 3), (9, 1000, 0), (1, 16, 40), (0, 0, 6), (2, 3, 10**5))


class Stream:
    """An extendable output, read word by word."""

    def __init__(self, domain: str, *parts: bytes) -> None:
        self.words = self._words(domain, parts)

    @staticmethod
    def _words(domain: str, parts: tuple[bytes, ...]) -> Iterator[int]:
        data, at, size = b"", 0, 1 << 10
        while True:
            if at + 8 > len(data):
                size *= 2
                data = xof(domain, parts, size)
            yield int.from_bytes(data[at : at + 8], "little")
            at += 8

    def below(self, x: int) -> int:
        while (v := next(self.words)) >= 2**64 - 2**64 % x:
            pass
        return v % x

    def some(self, total: int, count: int) -> list[int]:
        chosen: set[int] = set()
        for top in range(total - count, total):
            pick = self.below(top + 1)
            chosen.add(top if pick in chosen else pick)
        return sorted(chosen)


def drawn(firsts: list[int], rows: int, sample: tuple[int, int, int], seed: bytes, digest: bytes) -> Cells:
    """The cells of a sample of g runs of r rows and c cells."""
    g, r, c = sample
    cells: Cells = []
    if g:
        stream = Stream("runs", seed, digest)
        for s in range(len(firsts)) if g >= len(firsts) else stream.some(len(firsts), g):
            n = rows - firsts[s]
            count = (n + r - 1) // r
            i = stream.below(count)
            cells.append((s, firsts[s] + i * n // count, firsts[s] + (i + 1) * n // count))
    if c:
        every = [(s, row) for s, first in enumerate(firsts) for row in range(first, rows)]
        numbers = range(len(every)) if c >= len(every) else Stream("cells", seed, digest).some(len(every), c)
        runs = {s: (a, b) for s, a, b in cells}
        for s, row in (every[i] for i in numbers):
            a, b = runs.get(s, (0, 0))
            if not a <= row < b:
                cells.append((s, row, row + 1))
    return sorted(cells)


def draws() -> Json:
    made = []
    for prompt, rows in ((12, 17), (1, 1), (30, 200), (5, 64)):
        firsts = [0, 0, 0, prompt - 1]
        for sample in SAMPLES:
            name = f"{prompt} of {rows} rows, {sample}"
            digest = hashlib.sha256(name.encode()).digest()
            for seed in (b"public", hashlib.sha256(digest).digest()):
                cells = drawn(firsts, rows, sample, seed, digest)
                made.append(
                    {
                        "name": f"{name}, {len(seed)} bytes of seed",
                        "prompt": prompt,
                        "rows": rows,
                        "sample": sample,
                        "seed": seed.hex(),
                        "digest": digest.hex(),
                        "cells": cells,
                    }
                )
    return made


def policies() -> Json:
    right = [
        [KIND, 1, ONE, 0, []],
        [KIND, 1, 1, 0, []],
        [KIND, 1, 0, ONE, [3, 256, 0]],
        [KIND, 1, 85899346, ONE - 85899346, [4096, 2**20, 2**18]],
        [KIND, 1, 0, 1, [0, 0, 16]],
    ]
    base: list[Any] = [KIND, 1, 2**31, 2**31, [3, 256, 16]]
    wrong: dict[str, list[Any]] = {"another kind": ["proofcompute terms", *base[1:]]}
    for at, name, values in (
        (1, "version", (0, 2, "1")),
        (2, "whole", (-1, ONE + 1, 2**31 + 1, b"", "1")),
        (3, "sampled", (-1, ONE + 1, 2**31 + 1, 0, [])),
        (4, "sample", ([], [3, 256], [3, 256, 16, 0], [0, 0, 0], [3, 0, 1], [0, 256, 1], 0, b"", "x")),
    ):
        for value in values:
            wrong[f"{name} {value!r}"] = [*base[:at], value, *base[at + 1 :]]
    for at, most in enumerate((4096, 2**20, 2**18)):
        for value in (-1, most + 1):
            sample = [*base[4][:at], value, *base[4][at + 1 :]]
            wrong[f"element {at} of the sample {value}"] = [*base[:4], sample]
    wrong["nothing is ever checked"] = [KIND, 1, 0, 0, []]
    wrong["a sample that is never drawn"] = [KIND, 1, ONE, 0, [3, 256, 0]]
    wrong["an element less"] = base[:4]
    wrong["an element more"] = [*base, 0]
    bad = {name: cbor(fields).hex() for name, fields in wrong.items()}
    good = cbor(base)
    bad["a byte more"] = (good + b"\0").hex()
    bad["a byte less"] = good[:-1].hex()
    bad["a number in a longer form"] = (good[:-1] + b"\x18\x10").hex()  # 16, which fits into its head
    bad["nothing"] = ""
    return {"valid": [cbor(fields).hex() for fields in right], "invalid": bad}


def main(folder: Path) -> None:
    made = {"draws": draws(), "policies": policies()}
    text = json.dumps(made, indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "draws.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
