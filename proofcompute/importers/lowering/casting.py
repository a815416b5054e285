"""Lowers conversions between types of elements."""

from __future__ import annotations

from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import NARROW, STORED, Value, is_float, limits_of

__all__ = ["converted"]


def converted(g: Graph, x: Value, dtype: str) -> Value:
    """Return x in another type: integers wrap, floats to integers are cut off, shorter floats are rounded."""
    if dtype == x.dtype:
        return x
    if is_float(x.dtype):
        if dtype == "f16":
            return g.cast(el.round_to_half(g, x), dtype)
        if dtype == "bf16":
            return g.cast(el.round_to_bfloat16(g, x), dtype)
        if dtype in NARROW or STORED[dtype] in ("i8", "u8"):
            # beyond the range the result is open; it wraps, as integers do
            return converted(g, g.cast(x, "i32" if dtype != "u32" else "i64"), dtype)
        return g.cast(x, dtype)
    if x.dtype == "bool" or is_float(dtype) or dtype == "bool":
        if dtype in NARROW and x.dtype == "bool":
            return g.map("cast", x, dtype=dtype)
        return g.cast(x, dtype)
    low, high = limits_of(dtype)
    least, most = limits_of(x.dtype)
    if low <= least and most <= high:
        return g.cast(x, dtype)
    bits = int(high - low + 1).bit_length() - 1
    wide = g.cast(x, "i64")
    if bits >= 64:
        return g.cast(wide, dtype)
    rest = g.map("and", wide, (1 << bits) - 1)
    if low < 0:
        rest = g.select(g.map("lt", int(high), rest), g.map("sub", rest, 1 << bits), rest)
    return g.cast(rest, dtype)
