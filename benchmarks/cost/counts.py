"""Counts the bytes and operations of a launch from its arguments.

A whole array counts once, as read or as written according to the kernel's signature (``const`` or not); if a
kernel touches only a part of an array, an entry below states how much. These are the bytes that must
cross the memory bus if the caches catch every second use.

SHA-256 compresses blocks of 64 bytes after padding with at least 9 (FIPS 180-4, section 5.1.1); BLAKE3 chunks
of 1,024 bytes, 16 blocks at most, and a parent for each pair (the BLAKE3 paper, section 2). A node of a tree
has 65 bytes, which are two blocks in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

from benchmarks.cost.device import Launched
from proofcompute.arithmetic.backends.cuda import Buffer, Window, kernel_files, source

__all__ = ["INSTRUCTIONS", "Cost", "chain", "cost", "named", "parameters", "total"]

INSTRUCTIONS: Final = {
    "sha256_rows": 1530,
    "sha256_trees": 1530,
    "blake3_chunks": 820,
    "blake3_parents": 820,
    "blake3_trees": 820,
}
"""Instructions of one compression; a test compares them with the machine code for sm_90."""
GATHERED: Final = 1200
"""Additional instructions if a block's words come from several arrays: an assumption, 75 for each of 16."""

_SIGNATURE: Final = r'extern "C" __global__ void __launch_bounds__\([A-Z]+(?:, [12])?\)\s+%s\((.*?)\) \{'
_MACRO: Final = r"#define %s\((\w+)\)((?:.*\\\n)*.*)"
"""A macro with one argument."""
_DEVICE: Final[dict[str, tuple[tuple[str, bool | None], ...]]] = {
    "copy": (("source", True), ("target", False)),
    "clear": (("buffer", False),),
}
"""Work of the device itself."""


@dataclass(frozen=True)
class Cost:
    """The cost of one launch, or of several together."""

    read: int = 0
    """Bytes read."""
    written: int = 0
    """Bytes written."""
    products: int = 0
    """Multiply-adds of int8, on tensor cores or dp4a."""
    compressions: int = 0
    """Compressions of a hash."""
    instructions: int = 0
    """Instructions that these compressions take, each counted for one thread."""
    launches: int = 0

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.read + self.written

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.read + other.read,
            self.written + other.written,
            self.products + other.products,
            self.compressions + other.compressions,
            self.instructions + other.instructions,
            self.launches + other.launches,
        )


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs."""
    return sum(costs, Cost())


@cache
def parameters(kernel: str) -> tuple[tuple[str, bool | None], ...]:
    """Return name -> True for a pointer that is only read, False for another pointer, None for a number."""
    if kernel in _DEVICE:
        return _DEVICE[kernel]
    text = source(kernel_files()[kernel])
    found = re.search(_SIGNATURE % kernel, text, re.DOTALL)
    assert found is not None, kernel

    def expanded(call: re.Match[str]) -> str:
        macro = re.search(_MACRO % call[1], text)
        assert macro is not None, call[0]
        return re.sub(rf"(?:##|\b){macro[1]}\b", call[2], macro[2].replace("\\\n", " "))

    text_of, calls = found[1], 1
    while calls:  # a macro may list calls of another
        text_of, calls = re.subn(r"(\w+)\((\w+)\)", expanded, text_of)
    listed = " ".join(text_of.split()).split(", ")
    return tuple((p.split()[-1].lstrip("*"), "const" in p if "*" in p else None) for p in listed)


def named(launched: Launched) -> dict[str, Any]:
    """Return the arguments by parameter name."""
    listed = parameters(launched.kernel)
    return {name: argument for (name, _), argument in zip(listed, launched.arguments, strict=True)}


def _blocks(a: Mapping[str, Any], first: int, stop: int) -> tuple[int, int]:
    """Return the number of 64-byte blocks with bytes first..stop of a message, and how many are gathered."""
    ends = [0, int(a["front"])]
    ends += [ends[1] + sum(int(a[f"width{j}"]) for j in range(i + 1)) for i in range(4)]
    starts = range(first, stop, 64)
    whole = sum(any(p <= at and at + 64 <= q for p, q in pairwise(ends)) for at in starts)
    return len(starts), len(starts) - whole


def _message(kernel: str, a: Mapping[str, Any]) -> tuple[int, int]:
    """Return the compressions of the thread with the most, and how many of these gather their words."""
    size = int(a["front"]) + sum(int(a[f"width{i}"]) for i in range(4))
    if kernel == "blake3_chunks":
        return _blocks(a, 0, max(1, min(size, 1024)))
    return _blocks(a, 0, size + 9)


def _levels(n: int) -> list[int]:
    """Return the nodes that a launch of ``*_trees`` makes per level, without a lone one that moves up."""
    found: list[int] = []
    while n > 1 and len(found) < 9:
        found.append(n // 2)
        n = (n + 1) // 2
    return found


def _hashed(kernel: str, a: Mapping[str, Any], groups: int) -> tuple[int, int, int]:
    """Return one thread's consecutive instructions, and all threads' compressions and instructions."""
    each = INSTRUCTIONS.get(kernel)
    if each is None:
        return 0, 0, 0
    n = int(a["n"])
    if kernel.endswith("_trees"):
        made = _levels(n)
        return 2 * each * len(made), 2 * groups * sum(made), 2 * each * groups * sum(made)
    if kernel == "blake3_parents":
        parents = int(a["chunks"]) - 1
        return parents * each, parents * n * groups, parents * each * n * groups
    compressions, gathered = _message(kernel, a)
    mine = compressions * each + gathered * GATHERED
    threads = n * groups * (int(a["chunks"]) if kernel == "blake3_chunks" else 1)
    return mine, compressions * threads, mine * threads


@cache
def chain(launched: Launched) -> int:
    """Return the instructions of a hash that one thread runs one after the other."""
    return _hashed(launched.kernel, named(launched), launched.grid[1])[0]


def _size(argument: Any) -> int:
    if isinstance(argument, Window):
        return argument.rows * argument.width
    return argument.size if isinstance(argument, Buffer) else 0


def _seen(n: int, visible: int) -> int:
    """Return the positions that n rows see together, without a window; the last row sees ``visible``."""
    return n * visible - n * (n - 1) // 2


def _parts(kernel: str, a: Mapping[str, Any], grid: tuple[int, int, int], context: int) -> dict[str, int]:
    """Return the bytes of the arrays of which a kernel touches only a part."""
    if kernel == "take_rows":
        return {"table": int(a["n"] * a["width"])}
    if kernel == "move_rows":
        moves = range(sum(name.startswith("width") for name in a))
        sizes = [int(a[f"n{i}"]) * int(a[f"width{i}"]) for i in moves]
        return {f"{end}{i}": size for i, size in zip(moves, sizes, strict=True) for end in ("from", "to")}
    if (kernel.endswith("_rows") and "front" in a) or kernel == "blake3_parents":
        return {"out": 32 * int(a["n"]) * grid[1]}
    if kernel.endswith("_trees"):
        n, made = int(a["n"]), _levels(int(a["n"]))
        return {"in": 32 * n * grid[1], "out": 32 * grid[1] * (sum(made) + n * int(a["copy"]))}
    if kernel == "check_scales":
        visible = _visible(a, int(a["n"]), context)
        return {"ks": 4 * int(a["kc"]) * visible, "vs": 4 * int(a["vc"]) * visible}
    if kernel == "report":
        return {"words": 4 * int(a["count"])}
    if kernel == "sample_seen":
        return {"history": 4 * (int(a["count"]) if a["at"] is None else context)}
    if kernel in ("attention_scores", "attention_softmax", "attention_mix"):
        visible, hk = _visible(a, grid[2], context), int(a["hk"])
        scores = 4 * int(a["h"]) * _seen(grid[2], visible)
        if kernel == "attention_scores":
            return {"kq": visible * hk * int(a["dh"]), "ks": 4 * visible * hk, "scores": scores}
        if kernel == "attention_softmax":
            return {"scores": 2 * scores, "vs": 4 * visible * hk}  # read, and written over
        return {"weights": scores, "vq": visible * hk * int(a["vl"]) * int(a["d"])}
    return {}


def _visible(a: Mapping[str, Any], n: int, context: int) -> int:
    """Return the number of positions up to the last row's."""
    return int(a["first"]) + n if a["at"] is None else context


@cache
def cost(launched: Launched, context: int) -> Cost:
    """Return the cost of one launch; a row that device memory selects is the one at ``context`` - 1."""
    kernel, grid = launched.kernel, launched.grid
    listed, a = parameters(kernel), named(launched)
    parts = _parts(kernel, a, grid, context)
    sizes = {name: parts.get(name, _size(a[name])) for name, only in listed if only is not None}
    products = 0
    _, compressions, instructions = _hashed(kernel, a, grid[1])
    if kernel in ("linear_few", "linear_mma"):
        products = int(a["n"]) * int(a["m"]) * int(a["d"]) * int(a["x_limbs"]) * int(a["w_limbs"])
    elif kernel in ("product_dp4a", "product_plain"):
        products = int(a["n"]) * int(a["m"]) * int(a["d"])
    elif kernel in ("attention_scores", "attention_mix"):
        columns = int(a["dh"] if kernel == "attention_scores" else a["d"])
        products = int(a["h"]) * columns * _seen(grid[2], _visible(a, grid[2], context))
    return Cost(
        sum(size for name, size in sizes.items() if dict(listed)[name]),
        sum(size for name, size in sizes.items() if not dict(listed)[name]),
        products,
        compressions,
        instructions,
        1,
    )
