"""The operators of ONNX with graphs of their own, for sequences and optionals, and recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from proofcompute.importers.lowering.recurrent import Activation, Layer, activation
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant
from proofcompute.importers.onnx.calls import Call, Given, Listed, axis_of, operator

__all__ = ["MAX_STEPS"]

MAX_STEPS: Final = 1 << 12
"""Steps of a loop that is unrolled."""


@operator("If")
def _if(c: Call) -> list[Given]:
    condition = c.value(0)
    then, other = c.attributes["then_branch"], c.attributes["else_branch"]
    if isinstance(condition, Constant):
        return c.run_graph(then if bool(condition.array.reshape(-1)[0]) else other, [])
    first, second = c.run_graph(then, []), c.run_graph(other, [])
    made: list[Given] = []
    chosen = c.g.reshape(condition, ())
    for a, b in zip(first, second, strict=True):
        if not isinstance(a, Constant | Row) or not isinstance(b, Constant | Row):
            raise RefusedError("rows choose between sequences", condition.inputs)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise RefusedError("rows choose between branches of other shapes or types", condition.inputs)
        made.append(c.g.select(chosen, a, b))
    return made


@operator("Loop")
def _loop(c: Call) -> list[Given]:
    g, body = c.g, c.attributes["body"]
    most = c.number(0) if c.has(0) else None
    going = bool(c.known(1).reshape(-1)[0]) if c.has(1) else True
    state: list[Given] = list(c.inputs[2:])
    count = len(state)
    rows: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - count)]
    t = 0
    while going and (most is None or t < most):
        if t >= MAX_STEPS:
            raise RefusedError(f"more than {MAX_STEPS} steps")
        made = c.run_graph(body, [constant(t, "i64"), constant(np.ones((), bool), "bool"), *state])
        condition, state = made[0], made[1 : 1 + count]
        for collected, value in zip(rows, made[1 + count :], strict=True):
            if not isinstance(value, Constant | Row):
                raise RefusedError("what is collected is no tensor")
            collected.append(g.reshape(value, (1, *value.shape)))
        if not isinstance(condition, Constant | Row):
            raise RefusedError("its condition is no tensor")
        going = bool(g.known(condition, "its condition").reshape(-1)[0])
        t += 1
    if not all(rows):
        raise RefusedError("it collects nothing")
    return [*state, *(g.concat(parts, 0) for parts in rows)]


@operator("Scan")
def _scan(c: Call) -> list[Given]:
    g, body, scanned = c.g, c.attributes["body"], c.whole("num_scan_inputs")
    if c.opset < 9:
        return _scan_8(c, body, scanned)
    count = len(c.inputs) - scanned
    state: list[Given] = list(c.inputs[:count])
    xs = [c.value(i) for i in range(count, len(c.inputs))]
    axes = c.wholes("scan_input_axes", [0] * scanned)
    backwards = c.wholes("scan_input_directions", [0] * scanned)
    axes = [axis_of(a, len(x.shape)) for a, x in zip(axes, xs, strict=True)]
    steps = xs[0].shape[axes[0]]
    if steps > MAX_STEPS:
        raise RefusedError(f"more than {MAX_STEPS} steps")
    rows: list[list[Value]] = [[] for _ in range(len(body.output) - count)]
    for t in range(steps):
        entries: list[Given] = []
        for x, axis, back in zip(xs, axes, backwards, strict=True):
            at = steps - 1 - t if back else t
            one = g.slice(x, axis, at, at + 1)
            entries.append(g.reshape(one, (*x.shape[:axis], *x.shape[axis + 1 :])))
        made = c.run_graph(body, [*state, *entries])
        state = made[:count]
        for collected, value in zip(rows, made[count:], strict=True):
            if not isinstance(value, Constant | Row):
                raise RefusedError("what is collected is no tensor")
            collected.append(value)
    out_axes = c.wholes("scan_output_axes", [0] * len(rows))
    out_back = c.wholes("scan_output_directions", [0] * len(rows))
    joined: list[Given] = []
    for parts, axis, back in zip(rows, out_axes, out_back, strict=True):
        if not parts:
            raise RefusedError("no steps")
        at = axis_of(axis, len(parts[0].shape) + 1)
        wide = [g.reshape(v, (*v.shape[:at], 1, *v.shape[at:])) for v in (reversed(parts) if back else parts)]
        joined.append(g.concat(wide, at))
    return [*state, *joined]


def _scan_8(c: Call, body: Any, scanned: int) -> list[Given]:
    """Version 8 has sequence lengths, and a batch axis in front."""
    g = c.g
    if c.has(0):
        raise RefusedError("sequence lengths")
    count = len(c.inputs) - 1 - scanned
    samples = c.value(1).shape[0]
    outs: list[list[Value]] = []
    for b in range(samples):
        one = [
            g.reshape(g.slice(v, 0, b, b + 1), v.shape[1:])
            for v in (c.value(i) for i in range(1, len(c.inputs)))
        ]
        state: list[Given] = list(one[:count])
        xs = one[count:]
        rows: list[list[Value]] = []
        for t in range(xs[0].shape[0]):
            entries: list[Given] = [g.reshape(g.slice(x, 0, t, t + 1), x.shape[1:]) for x in xs]
            made = c.run_graph(body, [*state, *entries])
            state = made[:count]
            rows.append([g.reshape(v, (1, *v.shape)) for v in made[count:] if isinstance(v, Constant | Row)])
        joined = [g.concat(parts, 0) for parts in zip(*rows, strict=True)]
        outs.append([v for v in (*state, *joined) if isinstance(v, Constant | Row)])
    return [g.concat([g.reshape(v, (1, *v.shape)) for v in parts], 0) for parts in zip(*outs, strict=True)]


# -- sequences and optionals -------------------------------------------------------------------------------
@operator("SequenceEmpty")
def _sequence_empty(c: Call) -> Given:
    return Listed(())


@operator("SequenceConstruct")
def _sequence_construct(c: Call) -> Given:
    return Listed(tuple(c.value(i) for i in range(len(c.inputs))))


def _at(c: Call, i: int, n: int, *, end: bool = False) -> int:
    at = c.number(i)
    at = at + n if at < 0 else at
    if not 0 <= at < n + end:
        raise RefusedError(f"place {at} of a sequence of {n}")
    return at


@operator("SequenceAt")
def _sequence_at(c: Call) -> Given:
    items = c.listed(0).items
    return items[_at(c, 1, len(items))]


@operator("SequenceInsert")
def _sequence_insert(c: Call) -> Given:
    items = list(c.listed(0).items)
    items.insert(_at(c, 2, len(items), end=True) if c.has(2) else len(items), c.value(1))
    return Listed(tuple(items))


@operator("SequenceErase")
def _sequence_erase(c: Call) -> Given:
    items = list(c.listed(0).items)
    del items[_at(c, 1, len(items)) if c.has(1) else len(items) - 1]
    return Listed(tuple(items))


@operator("SequenceLength")
def _sequence_length(c: Call) -> Given:
    return constant(len(c.listed(0).items), "i64")


@operator("ConcatFromSequence")
def _concat_from_sequence(c: Call) -> Given:
    items = c.listed(0).items
    axis = c.whole("axis")
    if not items:
        raise RefusedError("a sequence of nothing")
    if not c.whole("new_axis", 0):
        return c.g.concat(items, axis)
    at = axis_of(axis, len(items[0].shape) + 1)
    return c.g.concat([c.g.reshape(v, (*v.shape[:at], 1, *v.shape[at:])) for v in items], at)


@operator("SplitToSequence")
def _split_to_sequence(c: Call) -> Given:
    g, x = c.g, c.value(0)
    axis = axis_of(c.whole("axis", 0), len(x.shape))
    n = x.shape[axis]
    sizes = [1] * n
    if c.has(1):
        split = c.known(1)
        sizes = [int(v) for v in split.reshape(-1)]
        if split.ndim == 0:
            if sizes[0] < 1:
                raise RefusedError(f"pieces of {sizes[0]}")
            each = sizes[0]
            sizes = [min(each, n - at) for at in range(0, n, each)]
    if sum(sizes) != n:
        raise RefusedError(f"pieces of {sizes} are not an axis of {n}")
    parts, at = [], 0
    for size in sizes:
        part = g.slice(x, axis, at, at + size)
        at += size
        if not c.has(1) and not c.whole("keepdims", 1):
            part = g.reshape(part, (*x.shape[:axis], *x.shape[axis + 1 :]))
        parts.append(part)
    return Listed(tuple(parts))


@operator("SequenceMap")
def _sequence_map(c: Call) -> list[Given]:
    body, first = c.attributes["body"], c.listed(0).items
    outs: list[list[Value]] = [[] for _ in body.output]
    for t in range(len(first)):
        given = [v.items[t] if isinstance(v, Listed) else v for v in c.inputs]
        for out, value in zip(outs, c.run_graph(body, given), strict=True):
            if not isinstance(value, Constant | Row):
                raise RefusedError("a result is no tensor")
            out.append(value)
    return [Listed(tuple(out)) for out in outs]


@operator("Optional")
def _optional(c: Call) -> Given:
    return c.inputs[0] if c.inputs else None


@operator("OptionalHasElement")
def _has_element(c: Call) -> Given:
    return constant(np.array(c.has(0)), "bool")


@operator("OptionalGetElement")
def _get_element(c: Call) -> Given:
    if not c.has(0):
        raise RefusedError("an optional that is empty")
    return c.inputs[0]


# -- recurrent layers --------------------------------------------------------------------------------------
_DEFAULT: Final = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}
_PARAMETERS: Final = {
    "affine": (True, True),
    "elu": (True, False),
    "hardsigmoid": (True, True),
    "leakyrelu": (True, False),
    "scaledtanh": (True, True),
    "thresholdedrelu": (True, False),
}


def _functions(c: Call, directions: int) -> list[Activation]:
    names = [n.decode() if isinstance(n, bytes) else n for n in c.attributes.get("activations", [])]
    names = names or _DEFAULT[c.op] * directions
    alphas, betas = (
        list(c.attributes.get("activation_alpha", [])),
        list(c.attributes.get("activation_beta", [])),
    )
    found: list[Activation] = []
    for name in names:
        alpha, beta = _PARAMETERS.get(name.lower(), (False, False))
        found.append(
            activation(
                name, alphas.pop(0) if alpha and alphas else None, betas.pop(0) if beta and betas else None
            )
        )
    return found


@operator("RNN", "GRU", "LSTM")
def _recurrent(c: Call) -> list[Given]:
    g, x, kind = c.g, c.value(0), c.op
    direction = c.text("direction", "forward")
    swapped = bool(c.whole("layout", 0))
    if swapped:
        x = g.transpose(x, (1, 0, 2))
    w, r = c.value(1), c.value(2)
    directions, gates = w.shape[0], _GATES[kind]
    hidden, samples = r.shape[-1], x.shape[1]
    functions = _functions(c, directions)
    each = len(functions) // directions
    lengths = c.maybe(4)
    if isinstance(lengths, Constant) and (lengths.array == x.shape[0]).all():
        lengths = None
    zeros = constant(np.zeros((samples, hidden)), x.dtype)
    outs, last = [], []
    for d in range(directions):
        pick = _picker(c, d)
        states: list[Value] = []
        for i in (5, 6) if kind == "LSTM" else (5,):
            given = c.maybe(i)
            if given is not None and swapped:
                given = g.transpose(given, (1, 0, 2))
            states.append(zeros if given is None else pick(given))
        bias = pick(c.value(3)) if c.has(3) else constant(np.zeros(2 * gates * hidden), x.dtype)
        layer = Layer(
            kind.lower(),
            pick(w),
            pick(r),
            bias,
            functions[d * each : (d + 1) * each],
            pick(c.value(7)) if c.has(7) else None,
            c.real("clip") if "clip" in c.attributes else None,
            bool(c.whole("input_forget", 0)),
            bool(c.whole("linear_before_reset", 0)),
        )
        backwards = direction == "reverse" or d == 1
        y, state = layer.run(g, x, states, lengths, backwards=backwards)
        outs.append(g.reshape(y, (y.shape[0], 1, *y.shape[1:])))
        last.append([g.reshape(s, (1, *s.shape)) for s in state])
    made: list[Value] = [g.concat(outs, 1), *(g.concat(parts, 0) for parts in zip(*last, strict=True))]
    if swapped:
        made = [g.transpose(made[0], (2, 0, 1, 3)), *(g.transpose(v, (1, 0, 2)) for v in made[1:])]
    return list(made)


def _picker(c: Call, d: int) -> Callable[[Value], Value]:
    def pick(v: Value) -> Value:
        return c.g.reshape(c.g.slice(v, 0, d, d + 1), v.shape[1:])

    return pick
