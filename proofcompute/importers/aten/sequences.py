"""Recurrent layers of ATen: LSTM, GRU and plain ones, and their single steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.recurrent import Activation, Layer, activation
from proofcompute.importers.lowering.values import RefusedError, Value, constant

__all__: list[str] = []

_ORDERS: Final = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
"""PyTorch's gates, in the order of the lowering: of an LSTM input, output, forget, cell; of a GRU update,
reset, new."""


def _functions(kind: str, op: str) -> Sequence[Activation]:
    if kind == "rnn":
        return [activation("relu" if "relu" in op else "tanh")]
    return [activation("sigmoid"), *[activation("tanh")] * (2 if kind == "lstm" else 1)]


def _layer(g: Graph, kind: str, op: str, w: Value, r: Value, biases: Sequence[Value]) -> Layer:
    """Return a layer of PyTorch's weights [gates h, d] and [gates h, h], and biases of both or none."""
    gates = len(_ORDERS[kind])
    hidden = r.shape[-1]
    if r.shape[0] != gates * hidden:
        raise RefusedError("a projection of the state")
    none = constant(np.zeros(gates * hidden), w.dtype)
    first, second = biases or (none, none)

    def turned(v: Value) -> Value:
        return g.concat([g.slice(v, 0, i * hidden, (i + 1) * hidden) for i in _ORDERS[kind]], 0)

    bias = g.concat([turned(first), turned(second)], 0)
    return Layer(kind, turned(w), turned(r), bias, _functions(kind, op), after=True)


@operator("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(c: Call) -> list[Value]:
    g, kind = c.g, c.op.partition("_")[0]
    if "data" in c.arguments:
        raise RefusedError("packed sequences")
    if c.flag("train") and c.real("dropout", 0.0) > 0:
        raise RefusedError("a dropout that draws random numbers; call eval() on the module")
    x, weights, biased = c.value("input"), c.values("params"), c.flag("has_biases")
    states = c.values("hx") if kind == "lstm" else [c.value("hx")]
    if c.flag("batch_first"):
        x = g.transpose(x, (1, 0, 2))
    directions = 2 if c.flag("bidirectional") else 1
    each = 4 if biased else 2
    count = c.whole("num_layers") * directions
    if len(weights) != count * each:
        raise RefusedError(f"{len(weights)} weights of {count} layers: projections of the state")
    last: list[list[Value]] = []
    for n in range(c.whole("num_layers")):
        outs = []
        for d in range(directions):
            i = n * directions + d
            w, r, *biases = weights[i * each : (i + 1) * each]
            begin = [g.reshape(g.slice(s, 0, i, i + 1), s.shape[1:]) for s in states]
            out, state = _layer(g, kind, c.op, w, r, biases).run(g, x, begin, None, backwards=d == 1)
            outs.append(out)
            last.append([g.reshape(s, (1, *s.shape)) for s in state])
        x = g.concat(outs, 2)
    if c.flag("batch_first"):
        x = g.transpose(x, (1, 0, 2))
    return [x, *(g.concat(parts, 0) for parts in zip(*last, strict=True))]


@operator("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(c: Call) -> Value | list[Value]:
    g, kind, x = c.g, c.op.partition("_")[0], c.value("input")
    states = c.values("hx") if kind == "lstm" else [c.value("hx")]
    biases = [c.value(n) for n in ("b_ih", "b_hh") if c.has(n)]
    layer = _layer(g, kind, c.op, c.value("w_ih"), c.value("w_hh"), biases)
    steps = g.reshape(x, (1, *x.shape))
    _, state = layer.run(g, steps, states, None, backwards=False)
    return list(state) if kind == "lstm" else state[0]
