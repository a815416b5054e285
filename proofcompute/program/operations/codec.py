"""Encode programs canonically and decode them; the encoding is hashed into the model id.

An operation is encoded as its class name and the values of its fields in order, without the last ones that
have their default value. Fields are integers, strings, or tuples of integers, strings or nodes. Decoding
constructs the objects, which check themselves.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_NAME, MAX_PROGRAM, MAX_RANK, MAX_ROWS, MAX_WIDTH
from proofcompute.program.operations.attention import Attention, QuantiseHeads, Rope
from proofcompute.program.operations.composites import Pool, Silu, Softmax
from proofcompute.program.operations.contract import Contract
from proofcompute.program.operations.linear import Embed, Experts, Linear
from proofcompute.program.operations.mapping import Constant, Map, Position
from proofcompute.program.operations.moving import Concat, Put, Split, Take, View
from proofcompute.program.operations.pointwise import Add, Gate, Gelu, LayerNorm, Relu, RmsNorm
from proofcompute.program.operations.recurrent import Gru, Lstm
from proofcompute.program.operations.reducing import Cumulate, Order, Reduce
from proofcompute.program.operations.routing import Mix, Route
from proofcompute.program.operations.sample import Sample
from proofcompute.program.operations.scan import Scan
from proofcompute.program.operations.whole import PoolRows
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec

__all__ = ["OPERATIONS", "decode_program", "encode_program"]

VERSION = 2

OPERATIONS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        Add,
        Attention,
        Concat,
        Constant,
        Contract,
        Cumulate,
        Embed,
        Experts,
        Gate,
        Gelu,
        Gru,
        LayerNorm,
        Linear,
        Lstm,
        Map,
        Mix,
        Order,
        Pool,
        PoolRows,
        Position,
        Put,
        QuantiseHeads,
        Reduce,
        Relu,
        RmsNorm,
        Rope,
        Route,
        Sample,
        Scan,
        Silu,
        Softmax,
        Split,
        Take,
        View,
    )
}
"""Every operation that a program may name."""
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""The integers that a field may hold."""

_HINTS = {name: get_type_hints(cls) for name, cls in OPERATIONS.items()}


def encode_program(p: Program) -> bytes:
    """Return the canonical bytes of a program."""
    return wire.encode(
        [
            VERSION,
            [[name, _spec(spec)] for name, spec in p.inputs],
            list(p.outputs),
            2 if p.pooled else int(p.feedback),
            p.context,
            [[w.name, w.kind, list(w.shape), w.dtype, w.limbs, int(w.bias)] for w in p.weights],
            [[c.name, list(c.tensors)] for c in p.committed],
            [[s.name, [_node(n) for n in s.nodes]] for s in p.segments],
        ]
    )


def decode_program(data: bytes) -> Program:
    """Return the program that ``data`` encodes. Raises FormatError or LimitError if it is not exactly one."""
    what = "program"
    top = wire.as_list(wire.decode(data, limit=MAX_PROGRAM, what=what), what, n=8)
    wire.as_int(top[0], "program version", VERSION, VERSION)
    kind = wire.as_int(top[3], "feedback", 0, 2)
    return Program(
        inputs=tuple(
            (_name(i[0]), _as_spec(i[1]))
            for i in (wire.as_list(v, "input", n=2) for v in wire.as_list(top[1], what))
        ),
        outputs=tuple(_name(v) for v in wire.as_list(top[2], what)),
        feedback=kind == 1,
        pooled=kind == 2,
        context=wire.as_int(top[4], "context", 1, MAX_ROWS),
        weights=tuple(_as_weight(v) for v in wire.as_list(top[5], what)),
        committed=tuple(
            Committed(_name(c[0]), tuple(_name(t) for t in wire.as_list(c[1], "committed tensors")))
            for c in (wire.as_list(v, "committed group", n=2) for v in wire.as_list(top[6], what))
        ),
        segments=tuple(
            Segment(_name(s[0]), tuple(_as_node(n) for n in wire.as_list(s[1], "nodes")))
            for s in (wire.as_list(v, "segment", n=2) for v in wire.as_list(top[7], what))
        ),
    )


def _spec(spec: Spec) -> list[Any]:
    return [spec.dtype, list(spec.shape)]


def _node(node: Node) -> list[Any]:
    op: Any = node.op
    declared = list(fields(op))
    while declared and _is_default(declared[-1], getattr(op, declared[-1].name)):
        declared.pop()
    attributes = [_plain(getattr(op, f.name)) for f in declared]
    return [node.name, type(op).__name__, attributes, list(node.inputs), list(node.outputs)]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_node(v) if isinstance(v, Node) else v for v in value]
    return value


def _is_default(declared: Field[Any], value: Any) -> bool:
    return declared.default is not MISSING and bool(value == declared.default)


def _name(value: wire.Value) -> str:
    return wire.as_str(value, "name", MAX_NAME)


def _as_spec(value: wire.Value) -> Spec:
    dtype, shape = wire.as_list(value, "tensor type", n=2)
    return Spec(_name(dtype), _as_shape(shape, "row shape"))


def _as_shape(value: wire.Value, what: str) -> tuple[int, ...]:
    return tuple(wire.as_int(n, what, 1, MAX_WIDTH) for n in wire.as_list(value, what, max_n=MAX_RANK))


def _as_weight(value: wire.Value) -> WeightSpec:
    name, kind, shape, dtype, limbs, bias = wire.as_list(value, "weight", n=6)
    return WeightSpec(
        _name(name),
        _name(kind),
        _as_shape(shape, "weight shape"),
        _name(dtype),
        wire.as_int(limbs, "weight limbs", 1, 2),
        bool(wire.as_int(bias, "weight bias", 0, 1)),
    )


def _as_node(value: wire.Value) -> Node:
    name, op, attributes, inputs, outputs = wire.as_list(value, "operation", n=5)
    return Node(
        _name(name),
        _as_op(_name(op), attributes),
        tuple(_name(v) for v in wire.as_list(inputs, "operation inputs")),
        tuple(_name(v) for v in wire.as_list(outputs, "operation outputs")),
    )


def _as_op(name: str, value: wire.Value) -> Op:
    cls = OPERATIONS.get(name)
    if cls is None:
        raise FormatError(f"operation {name!r} is not known to this version")
    declared, what = fields(cls), f"attributes of {name}"
    values = wire.as_list(value, what, max_n=len(declared))
    if any(f.default is MISSING for f in declared[len(values) :]):
        raise FormatError(f"{what}: {len(values)} are too few")
    given = declared[: len(values)]
    found = [
        _as_field(v, _HINTS[name][f.name], f"{name}.{f.name}") for f, v in zip(given, values, strict=True)
    ]
    if given and _is_default(given[-1], found[-1]):
        raise FormatError(f"{what}: {given[-1].name} is as if left out, and so is left out")
    made: Op = cls(*found)
    return made


def _as_field(value: wire.Value, kind: Any, what: str) -> Any:
    """Return a field of an operation, whose declared type says which values it may have."""
    if kind is int:
        return wire.as_int(value, what, _LEAST, _MOST)
    if kind is str:
        return wire.as_str(value, what, MAX_NAME)
    values = wire.as_list(value, what, max_n=MAX_WIDTH)
    if kind == tuple[Node, ...]:
        return tuple(_as_node(v) for v in values)
    if kind == tuple[str, ...]:
        return tuple(wire.as_str(v, what, MAX_NAME) for v in values)
    return tuple(wire.as_int(v, what, _LEAST, _MOST) for v in values)
