"""Small decoders whose attention has options, made from the one of :mod:`synthetic`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

import synthetic
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.encoding.wire import f32_bits
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.program.operations import Attention, QuantiseHeads, Rope, Split
from proofcompute.program.types import Node, WeightSpec

__all__ = ["KINDS", "attending"]

Change = Callable[[Node], Node | None]
CAP, TURNED = f32_bits(0.75), f32_bits(1.25)


def _rebuilt(change: Change, sizes: Mapping[str, tuple[int, int]], gone: frozenset[str]) -> Model:
    """The model with changed operations, cut matrices, fewer committed tensors, and sinks for its heads."""
    m = synthetic.model()
    program = m.program
    specs: list[WeightSpec] = []
    weights: dict[str, Weight] = {}
    for spec in program.weights:
        w = m.weights[spec.name]
        if spec.name in sizes and isinstance(w, Matrix):
            rows, columns = sizes[spec.name]
            w = Matrix(np.ascontiguousarray(w.q[:, :rows, :columns]), w.scale[:rows].copy())
            spec = replace(spec, shape=(rows, columns))
        specs.append(spec)
        weights[spec.name] = w
    specs.append(WeightSpec("sinks", "constant", (4,), "f32"))
    weights["sinks"] = np.array([0.5, -1, 2, 0.25], np.float32)
    segments = tuple(
        replace(s, nodes=tuple(n for n in map(change, s.nodes) if n is not None)) for s in program.segments
    )
    committed = tuple(
        replace(c, tensors=tuple(t for t in c.tensors if t not in gone)) for c in program.committed
    )
    changed = replace(program, segments=segments, weights=tuple(specs), committed=committed)
    return Model.build(changed, weights, tokenizer=m.card.tokenizer, template=m.card.template)


def _limbs(node: Node) -> Node:
    """Two limbs of everything, capped, with sinks; a window in one layer only."""
    op = node.op
    if isinstance(op, Rope):
        return replace(node, op=replace(op, scale=TURNED))
    if isinstance(op, QuantiseHeads):
        return replace(node, op=replace(op, limbs=2))
    if isinstance(op, Attention):
        window = 5 if node.outputs[0].endswith(".0") else 0
        return replace(node, op=replace(op, limbs=2, softcap=CAP, sinks="sinks", window=window))
    return node


def _apart(node: Node) -> Node:
    """Values of six columns in two limbs beside keys of eight in one; three columns are not rotated."""
    op = node.op
    if isinstance(op, Rope):
        return replace(node, op=replace(op, freqs=op.freqs[:2], start=3))
    if isinstance(op, Split):
        return replace(node, op=Split((32, 16, 12)))
    if isinstance(op, QuantiseHeads) and node.name == "attention.v":
        return replace(node, op=replace(op, limbs=2))
    if isinstance(op, Attention):
        return replace(node, op=replace(op, window=7 if node.outputs[0].endswith(".1") else 0))
    return node


def _latent(node: Node) -> Node | None:
    """Values are the first five columns of the keys."""
    op = node.op
    if node.name == "attention.v":
        return None
    if isinstance(op, Rope):
        return replace(node, op=replace(op, freqs=op.freqs[:1], start=5))
    if isinstance(op, Split):
        return replace(node, op=Split((32, 16)), outputs=node.outputs[:2])
    if isinstance(op, QuantiseHeads):
        return replace(node, op=replace(op, limbs=2, latent=5))
    if isinstance(op, Attention):
        return replace(node, op=replace(op, limbs=2, latent=5), inputs=node.inputs[:3])
    return node


def _both(name: str, rows: int, columns: int) -> dict[str, tuple[int, int]]:
    return {f"block.{i}.attention.{name}": (rows, columns) for i in (0, 1)}


_VALUES = frozenset(f"{name}.{i}" for name in ("v", "v_scale") for i in (0, 1))
KINDS: dict[str, tuple[Change, Mapping[str, tuple[int, int]], frozenset[str]]] = {
    "limbs": (_limbs, {}, frozenset()),
    "apart": (_apart, _both("qkv", 60, 32) | _both("o", 32, 24), frozenset()),
    "latent": (_latent, _both("qkv", 48, 32) | _both("o", 32, 20), _VALUES),
}


@cache
def attending(kind: str) -> Model:
    """A model of one of KINDS."""
    return _rebuilt(*KINDS[kind])
