"""Makes a checkpoint's weights quantise better: folds in scales of :mod:`.smoothing`, chosen on a short text.

The checkpoint is first compiled as it is. The canonical engine then reads ``calibration.txt``, which is part
of this package, while the inputs of every product are recorded. Each step is canonical and the text is fixed,
so the same checkpoint gives the same model on every machine.

This table shows what absorbs the division by s, for the products of a block, and where that changes nothing
but roundings:

=============  ======================================================
``qkv``        the weights of the norm before it (and its bias); not without such a norm
``o``          the rows of ``v`` (and its bias): a mix of values is linear in them; the query heads that share
               a value head share its scales; not if values are clipped
``gate_up``    the weights of the norm before it; in a parallel block with one norm, ``qkv`` shares s
``down``       the rows of ``up`` (and its bias): a gate is linear in them; not without a gate or if clipped
``q_b``        the weights of the norm before it, in latent attention
=============  ======================================================

In latent attention the first products are those of ``q_a`` or ``q`` and ``kv_a``, with the scales of ``qkv``.
In a mixture of experts, the router, all experts and the shared expert have the scales of ``gate_up``, and of
the experts' ``down`` only the shared expert's is scaled, because each of the others sees some rows only.

The head is not scaled, because it may be the embedding too. The compiler notes where a fold is exact
(:class:`.draft.Fold`).
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
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.draft import Fold
from proofcompute.importers.compiling.smoothing import SAMPLE, column_scales, total
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.source import ComputeProducts, LinearCall, Products, RowProducts
from proofcompute.protocol.messages import Generation, Request
from proofcompute.tokens import Tokenizer

__all__ = ["Scales", "Seen", "calibration_tokens", "folded", "smoothed", "text_tokens"]

TOKENS: Final = 1024
"""The most tokens that are read."""
PIECE: Final = 256
"""Tokens of one piece of the text; each piece is a request of its own and begins at position 0."""
ROWS: Final = 128
"""The most rows of activations kept for each product, evenly spread; scales for one limb depend on them."""


def calibration_tokens(vocabulary: Vocabulary) -> list[int]:
    """Return the first tokens of the text; see :func:`text_tokens`. If there are none, nothing is scaled."""
    return text_tokens(vocabulary, "calibration.txt", TOKENS)


def text_tokens(vocabulary: Vocabulary, file: str, most: int) -> list[int]:
    """Return the first tokens of a text of this package, without paragraphs that a vocabulary cannot express.

    The list is empty if this version does not support the vocabulary at all.
    """
    text = resources.files("proofcompute.importers.compiling").joinpath(file).read_text(encoding="utf-8")
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
        if len(found) >= most:
            break
    return found[:most]


@dataclass(frozen=True)
class Seen:
    """Statistics of one product's inputs."""

    energy: npt.NDArray[np.float64]
    """Mean square of each column, [d], or of what other columns do not tell about it."""
    rows: F32 | None = None
    """A sample of the rows, [t, d]; None if activations have two limbs."""


@dataclass
class _Observed(RowProducts):
    """Products that are computed and whose inputs are recorded."""

    products: Products
    seen: dict[str, Seen] = field(default_factory=dict)

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Compute a product, as Products does, and record its inputs."""
        given = prepared(call.prologue, call.x, k)
        rows = k.host(given)
        wide = rows.astype(np.float64)
        energy = np.asarray(total(wide * wide)) / len(rows)
        self.seen[call.weight] = Seen(energy, rows[:: -(-len(rows) // ROWS)].copy())
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


@dataclass(frozen=True)
class Scales:
    """The scales of a checkpoint's tensors, by canonical name."""

    of: Mapping[str, _Scale] = field(default_factory=dict)

    def apply(self, name: str, values: F32, a: int, b: int) -> F32:
        """Scale ``values``, which are rows a..b of the tensor ``name``, a norm's with its offset added."""
        scale = self.of.get(name)
        if scale is None:
            return values
        if scale.columns is not None:
            values = values * scale.columns
        if scale.rows is not None:
            part = scale.rows[a:b]
            values = values / (part if values.ndim == 1 else part[:, np.newaxis])
        return values


def smoothed(
    checkpoint: Checkpoint, folds: Sequence[Fold], model: Model, kernels: Kernels, one_limb: bool
) -> Scales:
    """Return scales to fold into a checkpoint.

    Args:
        checkpoint: the weights.
        folds: where that changes nothing.
        model: the checkpoint compiled as it is; its roots are not used.
        kernels: the backend; every backend gives the same result.
        one_limb: whether activations have one limb in products.

    Raises the errors of running the model.
    """
    tokens = calibration_tokens(checkpoint.vocabulary)
    if not tokens:
        return Scales()
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
    seen = products.seen
    if not one_limb:
        seen = {name: Seen(x.energy) for name, x in seen.items()}
    return folded(checkpoint, folds, seen)


def folded(checkpoint: Checkpoint, folds: Sequence[Fold], seen: Mapping[str, Seen]) -> Scales:
    """Return the scales that suit what was seen of products' inputs. Raises the errors of the checkpoint."""
    found: dict[str, _Scale] = {}
    for fold in folds:
        if any(_stored_as_int8(checkpoint, name) for name in (*fold.matrices, *fold.absorb)):
            continue
        s = _chosen(checkpoint, fold, seen[fold.products[0]])
        for name in fold.absorb:
            found[name] = replace(found.get(name, _Scale()), rows=s)
        if fold.heads is not None:
            s = _for_queries(s, *fold.heads)
        for name in (fold.own,) if fold.own else fold.matrices:
            found[name] = replace(found.get(name, _Scale()), columns=s)
    return Scales(found)


def _stored_as_int8(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether a matrix keeps its int8 rows, which scales would change."""
    return len(checkpoint.shapes[name]) == 2 and checkpoint.quantised(name, 0, 1) is not None


def _chosen(checkpoint: Checkpoint, fold: Fold, x: Seen) -> F32:
    """Return the scales of what absorbs them."""
    w, energy, rows = _sample(checkpoint, fold.matrices), x.energy, x.rows
    if fold.heads is not None:
        _, kv_heads = fold.heads
        w = _by_query(w, *fold.heads)
        rows = None if rows is None else _by_query(rows, *fold.heads)
        energy = np.asarray(total(energy.reshape(kv_heads, -1, _columns(x, fold.heads)).transpose(1, 0, 2)))
    return column_scales(w, energy.reshape(-1), rows)


def _columns(x: Seen, heads: tuple[int, int]) -> int:
    return len(x.energy) // heads[0]


def _for_queries(s: F32, heads: int, kv_heads: int) -> F32:
    """Repeat the scales of value heads [kv_heads * c] for the query heads that share them."""
    shared = s.reshape(kv_heads, 1, -1)
    return np.repeat(shared, heads // kv_heads, axis=1).reshape(-1)


def _by_query(x: F32, heads: int, kv_heads: int) -> F32:
    """Reshape rows [n, heads * c] to [n * heads / kv_heads, kv_heads * c]."""
    columns = x.shape[1] // heads
    parts = x.reshape(len(x), kv_heads, -1, columns).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts).reshape(-1, kv_heads * columns)


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
