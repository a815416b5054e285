"""A checkpoint whose weights quantise better: scales of :mod:`.smoothing`, chosen on a short text, folded in.

The checkpoint is first compiled as it is; the canonical engine then reads ``calibration.txt``, which is part
of this package, and the inputs of every product are looked at. Each step is canonical and the text is fixed,
so the same checkpoint gives the same model on every machine.

Where the division by s goes, for the four products of a block:

=============  ======================================================
``qkv``        the weights of the norm before it
``o``          the rows of ``v`` (and its bias): a mix of values is linear in them; the query heads that share
               a value head share its scales
``gate_up``    the weights of the norm before it
``down``       the rows of ``up``: the gate is linear in them
=============  ======================================================

The head is left alone: it may be the embedding too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.kernels import Kernels, prepared
from proofcompute.arrays import F32
from proofcompute.engine import Engine
from proofcompute.errors import UnsupportedError
from proofcompute.importers.checkpoint import Checkpoint, Decoder
from proofcompute.importers.smoothing import SAMPLE, column_scales, total
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.source import ComputeProducts, LinearCall, Products
from proofcompute.protocol.messages import Generation, Request
from proofcompute.tokens import Tokenizer

__all__ = ["calibration_tokens", "smoothed"]

TOKENS: Final = 1024
"""Most tokens read."""
PIECE: Final = 256
"""Tokens of one piece of text, which is read by itself from position 0."""
ROWS: Final = 128
"""Activations kept of each product, evenly spread, where the scales depend on single rows."""


def calibration_tokens(vocabulary: Vocabulary) -> list[int]:
    """The first tokens of the text; paragraphs that the vocabulary cannot express are left out.

    Empty where this version cannot tokenise for the vocabulary at all: then nothing is scaled.
    """
    text = resources.files("proofcompute.importers").joinpath("calibration.txt").read_text(encoding="utf-8")
    try:
        tokenizer = Tokenizer(vocabulary)
    except UnsupportedError:
        return []
    found: list[int] = []
    for paragraph in text.split("\n\n"):
        try:
            found += tokenizer.encode(paragraph.strip("\n") + "\n\n", special=False)
        except UnsupportedError:
            continue
        if len(found) >= TOKENS:
            break
    return found[:TOKENS]


@dataclass(frozen=True)
class _Seen:
    """Inputs of one product."""

    energy: npt.NDArray[np.float64]
    """Mean square of each column, [d]."""
    rows: F32
    """A sample, [t, d]."""


@dataclass
class _Observed:
    """Products that are computed, with a look at their inputs."""

    products: Products
    seen: dict[str, _Seen] = field(default_factory=dict)

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """See Products."""
        given = prepared(call.prologue, call.x, k)
        rows = k.host(given)
        wide = rows.astype(np.float64)
        energy = np.asarray(total(wide * wide)) / len(rows)
        self.seen[call.weight] = _Seen(energy, rows[:: -(-len(rows) // ROWS)].copy())
        return self.products.linear(call._replace(x=given, prologue=None), k)


@dataclass(frozen=True)
class _Scale:
    """What the values of one tensor are multiplied and divided by."""

    columns: F32 | None = None
    rows: F32 | None = None

    def apply(self, values: F32, a: int, b: int) -> F32:
        """Rows a..b of the tensor, scaled."""
        if self.columns is not None:
            values = values * self.columns
        if self.rows is not None:
            part = self.rows[a:b]
            values = values / (part if values.ndim == 1 else part[:, np.newaxis])
        return values


def smoothed(checkpoint: Checkpoint, model: Model, kernels: Kernels, one_limb: bool) -> Checkpoint:
    """The same network with scales folded in.

    Args:
        checkpoint: the weights.
        model: the checkpoint compiled as it is; its roots are not looked at.
        kernels: backend; any gives the same result.
        one_limb: whether activations have one limb in products.

    Raises what running the model raises.
    """
    tokens = calibration_tokens(checkpoint.vocabulary)
    if not tokens:
        return checkpoint
    products = _Observed(ComputeProducts(model.matrix))
    engine = Engine(model, kernels, products=products)
    piece = min(PIECE, model.program.context)
    sessions = []
    for a in range(0, len(tokens), piece):
        data = np.array(tokens[a : a + piece], "<i4").tobytes()
        sessions.append(engine.add(Request(model.model_id, (("tokens", data),), bytes(32), Generation(1))))
    for session in sessions:
        engine.run(session)
    scales: dict[str, _Scale] = {}
    for i in range(checkpoint.decoder.layers):
        scales |= _of_block(checkpoint, products.seen, i, one_limb)

    def read_rows(name: str, a: int, b: int) -> F32:
        values = checkpoint.read_rows(name, a, b)
        return scales[name].apply(values, a, b) if name in scales else values

    return replace(checkpoint, read_rows=read_rows)


def _of_block(checkpoint: Checkpoint, seen: Mapping[str, _Seen], i: int, one_limb: bool) -> dict[str, _Scale]:
    layer, block = f"layers.{i}", f"block.{i}"
    out: dict[str, _Scale] = {}

    def chosen(product: str, names: Sequence[str]) -> F32:
        x = seen[f"{block}.{product}"]
        return column_scales(_sample(checkpoint, names), x.energy, x.rows if one_limb else None)

    for product, norm, names in (
        ("attention.qkv", "attention.norm", ("attention.q", "attention.k", "attention.v")),
        ("ffn.gate_up", "ffn.norm", ("ffn.gate", "ffn.up")),
    ):
        s = chosen(product, [f"{layer}.{n}" for n in names])
        out[f"{layer}.{norm}"] = _Scale(rows=s)
        out |= {f"{layer}.{n}": _Scale(columns=s) for n in names}
    s = chosen("ffn.down", [f"{layer}.ffn.down"])
    out[f"{layer}.ffn.down"] = _Scale(columns=s)
    out[f"{layer}.ffn.up"] = replace(out[f"{layer}.ffn.up"], rows=s)
    s = _value_scales(checkpoint, seen[f"{block}.attention.o"], i, one_limb)
    d = checkpoint.decoder
    shared = s.reshape(d.kv_heads, 1, d.head_dim)
    out[f"{layer}.attention.o"] = _Scale(columns=np.repeat(shared, d.heads // d.kv_heads, axis=1).reshape(-1))
    out[f"{layer}.attention.v"] = replace(out[f"{layer}.attention.v"], rows=s)
    if d.qkv_bias:
        out[f"{layer}.attention.v.bias"] = _Scale(rows=s)
    return out


def _value_scales(checkpoint: Checkpoint, x: _Seen, i: int, one_limb: bool) -> F32:
    """Scales [kv_heads * head_dim] of the columns of values, from all query heads that mix them."""
    d = checkpoint.decoder
    w = _by_query(_sample(checkpoint, [f"layers.{i}.attention.o"]), d)
    rows = _by_query(x.rows, d) if one_limb else None
    energy = x.energy.reshape(d.kv_heads, -1, d.head_dim)
    return column_scales(w, total(energy.transpose(1, 0, 2)).reshape(-1), rows)


def _by_query(x: F32, d: Decoder) -> F32:
    """Rows [n, heads * head_dim] as n * (heads / kv_heads) rows [., kv_heads * head_dim]."""
    parts = x.reshape(len(x), d.kv_heads, -1, d.head_dim).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts).reshape(-1, d.kv_heads * d.head_dim)


def _sample(checkpoint: Checkpoint, names: Sequence[str]) -> F32:
    """At most SAMPLE rows, evenly spread, of matrices on top of each other."""
    counts = {n: checkpoint.shapes[n][0] for n in names}
    step = -(-sum(counts.values()) // SAMPLE)
    chunk = step * max(1, SAMPLE // step)
    return np.concatenate(
        [
            checkpoint.rows(name, a, min(a + chunk, count))[::step]
            for name, count in counts.items()
            for a in range(0, count, chunk)
        ]
    )
