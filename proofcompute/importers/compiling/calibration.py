"""Makes a checkpoint's weights quantise better: folds in scales of :mod:`.smoothing`, chosen on a short text.

The checkpoint is first compiled as it is. The canonical engine then reads ``calibration.txt``, which is part
of this package, while the inputs of every product are recorded. Each step is canonical and the text is fixed,
so the same checkpoint gives the same model on every machine.

This table shows what absorbs the division by s, for the four products of a block:

=============  ======================================================
``qkv``        the weights of the norm before it
``o``          the rows of ``v`` (and its bias): a mix of values is linear in them; the query heads that share
               a value head share its scales
``gate_up``    the weights of the norm before it
``down``       the rows of ``up``: the gate is linear in them
=============  ======================================================

The head is not scaled, because it may be the embedding too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.kernels import Kernels, prepared
from proofcompute.arrays import F32, Array
from proofcompute.engine import Engine
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Attention
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.smoothing import SAMPLE, column_scales, total
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.source import ComputeProducts, LinearCall, Products
from proofcompute.protocol.messages import Generation, Request
from proofcompute.tokens import Tokenizer

__all__ = ["calibration_tokens", "smoothed"]

TOKENS: Final = 1024
"""The most tokens that are read."""
PIECE: Final = 256
"""Tokens of one piece of the text; each piece is a request of its own and begins at position 0."""
ROWS: Final = 128
"""The most rows of activations kept for each product, evenly spread; scales for one limb depend on them."""


def calibration_tokens(vocabulary: Vocabulary) -> list[int]:
    """Return the first tokens of the text, without the paragraphs that the vocabulary cannot express.

    The list is empty, and nothing is scaled, if this version does not support the vocabulary at all.
    """
    text = (
        resources.files("proofcompute.importers.compiling")
        .joinpath("calibration.txt")
        .read_text(encoding="utf-8")
    )
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
    """Statistics of one product's inputs."""

    energy: npt.NDArray[np.float64]
    """Mean square of each column, [d]."""
    rows: F32
    """A sample of the rows, [t, d]."""


@dataclass
class _Observed:
    """Products that are computed and whose inputs are recorded."""

    products: Products
    seen: dict[str, _Seen] = field(default_factory=dict)

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Compute a product, as Products does, and record its inputs."""
        given = prepared(call.prologue, call.x, k)
        rows = k.host(given)
        wide = rows.astype(np.float64)
        energy = np.asarray(total(wide * wide)) / len(rows)
        self.seen[call.weight] = _Seen(energy, rows[:: -(-len(rows) // ROWS)].copy())
        return self.products.linear(call._replace(x=given, prologue=None), k)

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """Compute products whose inputs are not recorded, because every matrix has seen some rows only."""
        return self.products.experts(call, numbers, k)


@dataclass(frozen=True)
class _Scale:
    """Scales of one tensor."""

    columns: F32 | None = None
    """Factors of its columns, or None."""
    rows: F32 | None = None
    """Divisors of its rows, or None."""

    def apply(self, values: F32, a: int, b: int) -> F32:
        """Scale ``values``, which are rows a..b of the tensor."""
        if self.columns is not None:
            values = values * self.columns
        if self.rows is not None:
            part = self.rows[a:b]
            values = values / (part if values.ndim == 1 else part[:, np.newaxis])
        return values


def smoothed(checkpoint: Checkpoint, model: Model, kernels: Kernels, one_limb: bool) -> Checkpoint:
    """Return the same network with scales folded in.

    Args:
        checkpoint: the weights.
        model: the checkpoint compiled as it is; its roots are not used.
        kernels: the backend; every backend gives the same result.
        one_limb: whether activations have one limb in products.

    Raises the errors of running the model.
    """
    tokens = calibration_tokens(checkpoint.vocabulary)
    if not tokens:
        return checkpoint
    products = _Observed(ComputeProducts(model.matrix))
    # one step, since what is seen are the inputs of the last one
    engine = Engine(model, kernels, rows=TOKENS, chunk=PIECE, beside=TOKENS, products=products)
    piece = min(PIECE, model.program.context)
    sessions = []
    for a in range(0, len(tokens), piece):
        data = np.array(tokens[a : a + piece], "<i4").tobytes()
        sessions.append(engine.add(Request(model.model_id, (("tokens", data),), bytes(32), Generation(1))))
    for session in sessions:
        engine.run(session)
    scales: dict[str, _Scale] = {}
    for i in range(len(checkpoint.arch.blocks)):
        scales |= _block_scales(checkpoint, products.seen, i, one_limb)

    def read_rows(name: str, a: int, b: int) -> F32:
        values = checkpoint.read_rows(name, a, b)
        return scales[name].apply(values, a, b) if name in scales else values

    return replace(checkpoint, read_rows=read_rows)


def _block_scales(
    checkpoint: Checkpoint, seen: Mapping[str, _Seen], i: int, one_limb: bool
) -> dict[str, _Scale]:
    """Return the scales of the tensors of block ``i``, by canonical name."""
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
    d = checkpoint.arch.blocks[i].attention
    shared = s.reshape(d.kv_heads, 1, d.head_dim)
    out[f"{layer}.attention.o"] = _Scale(columns=np.repeat(shared, d.heads // d.kv_heads, axis=1).reshape(-1))
    out[f"{layer}.attention.v"] = replace(out[f"{layer}.attention.v"], rows=s)
    if d.bias:
        out[f"{layer}.attention.v.bias"] = _Scale(rows=s)
    return out


def _value_scales(checkpoint: Checkpoint, x: _Seen, i: int, one_limb: bool) -> F32:
    """Return scales [kv_heads * head_dim] for the columns of values, from all query heads that mix them."""
    d = checkpoint.arch.blocks[i].attention
    w = _by_query(_sample(checkpoint, [f"layers.{i}.attention.o"]), d)
    rows = _by_query(x.rows, d) if one_limb else None
    energy = x.energy.reshape(d.kv_heads, -1, d.head_dim)
    return column_scales(w, total(energy.transpose(1, 0, 2)).reshape(-1), rows)


def _by_query(x: F32, d: Attention) -> F32:
    """Reshape rows [n, heads * head_dim] to [n * heads / kv_heads, kv_heads * head_dim]."""
    parts = x.reshape(len(x), d.kv_heads, -1, d.head_dim).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts).reshape(-1, d.kv_heads * d.head_dim)


def _sample(checkpoint: Checkpoint, names: Sequence[str]) -> F32:
    """Return at most SAMPLE rows, evenly spread, of matrices stacked on top of each other."""
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
