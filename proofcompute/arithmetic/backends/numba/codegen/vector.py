"""Emit LLVM IR on short vectors, for the few operations that compilers do not reliably make from loops.

Numba has no vector types, and LLVM's loop vectoriser does not find a matrix kernel that keeps its sums in
registers. The functions here emit IR on generic vectors, so the result is the same on every machine; LLVM
turns :func:`multiply_add` into ``vpdpwssd`` or ``vpmaddwd`` on x86-64 and into widening multiplications
elsewhere, and splits or joins vectors to fit the registers. It does not find ``vpdpbusd``, so that
:func:`multiply_add_bytes` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

__all__ = [
    "BYTE",
    "ELEMENTS",
    "LONG",
    "SHORT",
    "WORD",
    "constant",
    "fold",
    "funnel",
    "half",
    "insert",
    "interleave",
    "larger",
    "load",
    "loop",
    "multiply_add",
    "multiply_add_bytes",
    "offset",
    "permute",
    "pointer",
    "prefetch",
    "splat",
    "store",
    "total",
    "transpose",
    "vector",
]

BYTE: Final = ir.IntType(8)
SHORT: Final = ir.IntType(16)
WORD: Final = ir.IntType(32)
LONG: Final = ir.IntType(64)
ELEMENTS: Final = {"int8": BYTE, "int32": WORD}
"""Integer types by name."""

Value = Any
"""An IR value; llvmlite is untyped."""


def vector(element: Value, n: int) -> Value:
    """Return the vector type of ``n`` elements."""
    return ir.VectorType(element, n)


def insert(module: Any, kind: Value, name: str) -> Value:
    """Return the function ``name`` of a module, and declare it if it is not there yet."""
    found = module.globals.get(name)
    return ir.Function(module, kind, name) if found is None else found


def pointer(context: Any, builder: Any, array_type: Any, array: Value) -> Value:
    """Return the address of an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


def offset(builder: Any, a: Value, b: Value, times: int = 1) -> Value:
    """Return the index ``a + b * times``; ``b`` may be a Python int."""
    if isinstance(b, int):
        return builder.add(a, LONG(b * times))
    return builder.add(a, builder.mul(b, LONG(times)))


def _place(builder: Any, base: Value, index: Value, element: Value, kind: Value) -> Value:
    start = builder.bitcast(base, ir.PointerType(element))
    return builder.bitcast(builder.gep(start, [index]), ir.PointerType(kind))


def load(builder: Any, base: Value, index: Value, element: Value, n: int) -> Value:
    """Load ``n`` elements from ``base[index]`` on, which need only the alignment of one element."""
    return builder.load(_place(builder, base, index, element, vector(element, n)), align=element.width // 8)


def store(builder: Any, value: Value, base: Value, index: Value, element: Value) -> None:
    """Store a vector of elements from ``base[index]`` on."""
    builder.store(value, _place(builder, base, index, element, value.type), align=element.width // 8)


def prefetch(builder: Any, base: Value, index: Value) -> None:
    """Prefetch the cache line of byte ``base[index]`` into the second level; a prefetch never faults."""
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(BYTE), WORD, WORD, WORD])
    function = insert(builder.module, kind, "llvm.prefetch.p0")
    place = _place(builder, base, index, BYTE, BYTE)
    builder.call(function, [place, WORD(0), WORD(2), WORD(1)])  # to read, level 2, data


def constant(element: Value, n: int, value: int) -> Value:
    """Return a constant with the same number in all ``n`` lanes."""
    return ir.Constant(vector(element, n), [element(value)] * n)


def _shuffle(builder: Any, a: Value, b: Value, lanes: Sequence[int]) -> Value:
    mask = ir.Constant(vector(WORD, len(lanes)), [WORD(i) for i in lanes])
    return builder.shuffle_vector(a, b, mask)


def splat(builder: Any, value: Value, n: int) -> Value:
    """Return a vector with a scalar in all ``n`` lanes."""
    kind = vector(value.type, n)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, WORD(0))
    return _shuffle(builder, one, ir.Constant(kind, ir.Undefined), [0] * n)


def multiply_add(builder: Any, sums: Value, a: Value, b: Value) -> Value:
    """Return ``sums[i] + a[2i] b[2i] + a[2i+1] b[2i+1]``: int16 pairs to int32 lanes; it wraps."""
    n = sums.type.count
    wide = vector(WORD, 2 * n)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    even = _shuffle(builder, products, products, range(0, 2 * n, 2))
    odd = _shuffle(builder, products, products, range(1, 2 * n, 2))
    return builder.add(sums, builder.add(even, odd))


def multiply_add_bytes(builder: Any, sums: Value, a: Value, b: Value) -> Value:
    """Return ``sums[i]`` plus the sum of ``a[4i + e] b[4i + e]`` over e < 4: a is uint8, b int8; it wraps.

    The vectors have 16 lanes, and the target has ``avx512vnni``.
    """
    kind = ir.FunctionType(sums.type, [sums.type, a.type, b.type])
    function = insert(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return builder.call(function, [sums, a, b])


def fold(builder: Any, a: Value, b: Value, group: int) -> Value:
    """Add the two halves of each group of lanes of ``a`` and then of ``b``, in groups of half the size."""
    n, half = a.type.count, group // 2
    low = [start + i for start in range(0, 2 * n, group) for i in range(half)]
    return builder.add(_shuffle(builder, a, b, low), _shuffle(builder, a, b, [i + half for i in low]))


def larger(builder: Any, a: Value, b: Value) -> Value:
    """Return the larger of two unsigned numbers, lane by lane."""
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def interleave(builder: Any, a: Value, b: Value) -> tuple[Value, Value]:
    """Return the lower and the upper half of a0 b0 a1 b1 ...."""
    n = a.type.count
    order = [i for pair in zip(range(n), range(n, 2 * n), strict=True) for i in pair]
    return _shuffle(builder, a, b, order[:n]), _shuffle(builder, a, b, order[n:])


def transpose(builder: Any, rows: Sequence[Value]) -> list[Value]:
    """Transpose the matrix of n vectors of n lanes, n a power of two.

    Interleaving row i with row i + n/2 rotates the bits of the index (row, lane) by one place; log2 n
    rotations exchange row and lane.
    """
    n = len(rows)
    for _ in range(n.bit_length() - 1):
        pairs = (interleave(builder, rows[i], rows[i + n // 2]) for i in range(n // 2))
        rows = [row for pair in pairs for row in pair]
    return list(rows)


def permute(builder: Any, data: Value, index: Value) -> Value:
    """Return ``data[index[i]]`` of 16 or 8 int32 lanes (``PERMUTES``), by the lowest bits of the indices."""
    name = {16: "llvm.x86.avx512.permvar.si.512", 8: "llvm.x86.avx2.permd"}[data.type.count]
    function = insert(builder.module, ir.FunctionType(data.type, [data.type] * 2), name)
    return builder.call(function, [data, index])


def funnel(builder: Any, high: Value, low: Value, amount: Value) -> Value:
    """Return the lower half of ``(2^32 high + low) >> amount`` of int32 lanes, for amounts below 32."""
    name = f"llvm.fshr.v{low.type.count}i32"
    kind = ir.FunctionType(low.type, [low.type] * 3)
    function = insert(builder.module, kind, name)
    return builder.call(function, [high, low, amount])


def half(builder: Any, x: Value) -> Value:
    """Return the lower half of the lanes."""
    return _shuffle(builder, x, x, range(x.type.count // 2))


def total(builder: Any, lanes: Value) -> Value:
    """Return the sum of int32 or int64 lanes as one int64; it wraps."""
    n = lanes.type.count
    wide = vector(LONG, n)
    name = f"llvm.vector.reduce.add.v{n}i64"
    function = insert(builder.module, ir.FunctionType(LONG, [wide]), name)
    return builder.call(function, [lanes if lanes.type == wide else builder.sext(lanes, wide)])


def loop(
    builder: Any,
    count: Value,
    start: Sequence[Value],
    body: Callable[[Value, list[Value]], Sequence[Value]],
    *,
    unrolled: bool = True,
) -> list[Value]:
    """Emit ``state = start; for i in range(count): state = body(i, state)``, with the state in registers.

    If not ``unrolled``, LLVM must not unroll the loop: two bodies that fill all registers would be mixed, and
    need more.
    """
    before = builder.block
    head = builder.append_basic_block("loop.head")
    inside = builder.append_basic_block("loop.body")
    after = builder.append_basic_block("loop.after")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(LONG)
    i.add_incoming(LONG(0), before)
    state = []
    for value in start:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        state.append(phi)
    builder.cbranch(builder.icmp_signed("<", i, count), inside, after)
    builder.position_at_end(inside)
    after_body = body(i, list(state))
    i.add_incoming(builder.add(i, LONG(1)), builder.block)
    for phi, value in zip(state, after_body, strict=True):
        phi.add_incoming(value, builder.block)
    back = builder.branch(head)
    if not unrolled:
        back.set_metadata("llvm.loop", _whole(builder.module))
    builder.position_at_end(after)
    return state


def _whole(module: Any) -> Any:
    """Return metadata of one loop that is not to be unrolled; such a node names itself first."""
    disabled = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    node = ir.MDValue(module, [disabled], name=str(len(module.metadata)))
    node.operands = (node, disabled)
    return node
