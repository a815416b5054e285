"""Encode programs canonically and decode them; the encoding is hashed into the model id.

An operation is encoded as its class name and the values of its fields in order. Fields are integers, strings
or tuples of integers. Decoding constructs the objects, which check themselves.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_NAME, MAX_PROGRAM, MAX_ROWS, MAX_WIDTH
from proofcompute.program.operations.attention import Attention, QuantiseHeads, Rope
from proofcompute.program.operations.linear import Embed, Linear
from proofcompute.program.operations.pointwise import Add, Gate, Gelu, LayerNorm, Relu, RmsNorm, Split
from proofcompute.program.operations.sample import Sample
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec

__all__ = ["OPERATIONS", "decode_program", "encode_program"]

VERSION = 1

OPERATIONS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        Add,
        Attention,
        Embed,
        Gate,
        Gelu,
        LayerNorm,
        Linear,
        QuantiseHeads,
        Relu,
        RmsNorm,
        Rope,
        Sample,
        Split,
    )
}
"""Every operation that a program may name."""

_HINTS = {name: get_type_hints(cls) for name, cls in OPERATIONS.items()}


def encode_program(p: Program) -> bytes:
    """Return the canonical bytes of a program."""
    return wire.encode(
        [
            VERSION,
            [[name, _spec(spec)] for name, spec in p.inputs],
            list(p.outputs),
            int(p.feedback),
            p.context,
            [[w.name, w.kind, w.rows, w.width, w.limbs, int(w.bias)] for w in p.weights],
            [[c.name, list(c.tensors)] for c in p.committed],
            [[s.name, [_node(n) for n in s.nodes]] for s in p.segments],
        ]
    )


def decode_program(data: bytes) -> Program:
    """Return the program that ``data`` encodes. Raises FormatError or LimitError if it is not exactly one."""
    what = "program"
    top = wire.as_list(wire.decode(data, limit=MAX_PROGRAM, what=what), what, n=8)
    wire.as_int(top[0], "program version", VERSION, VERSION)
    return Program(
        inputs=tuple(
            (_name(i[0]), _as_spec(i[1]))
            for i in (wire.as_list(v, "input", n=2) for v in wire.as_list(top[1], what))
        ),
        outputs=tuple(_name(v) for v in wire.as_list(top[2], what)),
        feedback=bool(wire.as_int(top[3], "feedback", 0, 1)),
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
    attributes = [_plain(getattr(op, f.name)) for f in fields(op)]
    return [node.name, type(op).__name__, attributes, list(node.inputs), list(node.outputs)]


def _plain(value: int | str | tuple[int, ...]) -> int | str | list[int]:
    return list(value) if isinstance(value, tuple) else value


def _name(value: wire.Value) -> str:
    return wire.as_str(value, "name", MAX_NAME)


def _as_spec(value: wire.Value) -> Spec:
    dtype, shape = wire.as_list(value, "tensor type", n=2)
    sizes = wire.as_list(shape, "row shape", max_n=3)
    return Spec(_name(dtype), tuple(wire.as_int(n, "row shape", 1, MAX_WIDTH) for n in sizes))


def _as_weight(value: wire.Value) -> WeightSpec:
    name, kind, rows, width, limbs, bias = wire.as_list(value, "weight", n=6)
    return WeightSpec(
        _name(name),
        _name(kind),
        wire.as_int(rows, "weight rows", 1, MAX_WIDTH),
        wire.as_int(width, "weight width", 1, MAX_WIDTH),
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
    declared = fields(cls)
    values = wire.as_list(value, f"attributes of {name}", n=len(declared))
    made: Op = cls(
        *(
            _as_field(v, _HINTS[name][f.name], f"{name}.{f.name}")
            for f, v in zip(declared, values, strict=True)
        )
    )
    return made


def _as_field(value: wire.Value, kind: Any, what: str) -> int | str | tuple[int, ...]:
    if kind is int:
        return wire.as_int(value, what, 0, (1 << 32) - 1)
    if kind is str:
        return wire.as_str(value, what, MAX_NAME)
    return tuple(wire.as_int(v, what, 0, (1 << 32) - 1) for v in wire.as_list(value, what, max_n=MAX_WIDTH))
