"""Check the shapes of the arguments of an operation, once for every backend.

A backend calls the function of an operation's name with its arguments before it allocates, computes or
launches anything, because compiled code and kernels check no bounds. So the same wrong call gives the same
error everywhere. Arrays are a backend's own: they need ``shape``, ``dtype``, ``ndim`` and ``len``. The
functions return the sizes that they found. They read no element, so a check takes microseconds.

InputError says which shapes do not fit, LimitError which size the arithmetic cannot hold. A device may have
limits of its own besides. Contracts of hashing are in :mod:`proofcompute.commitments.hasher`, those of
projections in :mod:`proofcompute.freivalds.field`; hints are checked by ``check_sets`` in
:mod:`proofcompute.arithmetic.definition.hints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from proofcompute.arithmetic.kernels import (
    AttentionOptions,
    GatePrologue,
    Matrix,
    NormPrologue,
    Prologue,
    Routing,
)
from proofcompute.errors import InputError, LimitError
from proofcompute.limits import MAX_CONTRACTION, MAX_ROWS

__all__ = [
    "LIMBS",
    "AttentionSizes",
    "add",
    "attention",
    "concatenate",
    "embed",
    "experts",
    "gate",
    "heads",
    "largest_square",
    "layer_norm",
    "linear",
    "linear_with_hint",
    "mix",
    "need",
    "product",
    "quantise",
    "quantise_heads",
    "rescale",
    "rms_norm",
    "rope",
    "route",
    "row_bytes",
    "sample",
    "slice_columns",
]

A: TypeAlias = Any
"""An array of any backend."""

LIMBS: Final = (1, 2)
"""The numbers of limbs that a quantised number may have."""
_I8: Final = np.dtype(np.int8)


def need(condition: bool, what: str, *arrays: A) -> None:
    """Raise InputError, naming the shapes, unless ``condition`` holds."""
    if not condition:
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise InputError(f"{what} of shapes {shapes} do not fit together")


def _rows(x: A) -> tuple[int, int]:
    """Return n and d of rows [n, d]."""
    n: int
    d: int
    try:
        n, d = x.shape
    except ValueError:
        raise InputError(f"rows have two dimensions, and not the shape {list(x.shape)}") from None
    return n, d


def _contraction(d: int) -> None:
    if d > MAX_CONTRACTION:
        raise LimitError(f"a contraction of {d} in one accumulator; at most {MAX_CONTRACTION}")


# -- products --------------------------------------------------------------------------------------------
def quantise(x: A, limbs: int, prologue: Prologue) -> tuple[int, int]:
    """Check rows [n, d], or [n, 2 d] in front of a gate. Return n, and the d elements that are quantised."""
    if limbs not in LIMBS:
        raise InputError(f"a row has one or two limbs, not {limbs}")
    n, width = _rows(x)
    if isinstance(prologue, NormPrologue):
        need(prologue.weight.shape == (width,), "rows and weights", x, prologue.weight)
    elif isinstance(prologue, GatePrologue):
        return n, gate(x)[1]
    return n, width


def product(q: A, w: A) -> tuple[int, int, int]:
    """Check int8 [n, d] and [m, d], d <= MAX_CONTRACTION. Return n, m and d."""
    n, d = _rows(q)
    m = len(w)
    need(w.shape == (m, d), "factors", q, w)
    _contraction(d)
    return n, m, d


def rescale(acc: A, shifts: Sequence[int], sx: A, sw: A, bias: A | None) -> tuple[int, int, int]:
    """Check accumulators [sets, n, m], a shift a set, scales [n] and [m], bias [m]. Return sets, n and m."""
    if len(acc.shape) != 3:
        raise InputError(f"accumulators have three dimensions, and not the shape {list(acc.shape)}")
    sets, n, m = acc.shape
    if len(shifts) != sets:
        raise InputError(f"{len(shifts)} shifts for {sets} sets of accumulators")
    need(sx.shape == (n,) and sw.shape == (m,), "accumulators and scales", acc, sx, sw)
    if bias is not None:
        need(bias.shape == (m,), "accumulators and bias", acc, bias)
    return sets, n, m


def linear(x: A, w: Matrix, limbs: int, prologue: Prologue, residual: A | None) -> tuple[int, int, int]:
    """Check rows as :func:`quantise`, a matrix [limbs, m, d], a residual [n, m]. Return n, m and d."""
    n, d = quantise(x, limbs, prologue)
    w_limbs, m, _ = w.q.shape
    need(w.q.shape[2] == d and w.scale.shape == (m,), "rows, weights and scales", x, w.q, w.scale)
    if w_limbs not in LIMBS:
        raise InputError(f"a weight has one or two limbs, not {w_limbs}")
    if w.bias is not None:
        need(w.bias.shape == (m,), "weights and bias", w.q, w.bias)
    if residual is not None:
        need(residual.shape == (n, m), "rows, weights and residual", x, w.q, residual)
    return n, m, d


def experts(x: A, w: Matrix, numbers: A, limbs: int) -> tuple[int, int, int, int]:
    """Check rows [n, d] or [n r, d], matrices [groups, limbs, m, d], and their numbers int32 [n, r].

    Return n, r, m and d. What the numbers are is checked elsewhere.
    """
    if len(w.q.shape) != 4 or len(numbers.shape) != 2 or numbers.dtype != np.int32:
        raise InputError("a product with one of several matrices needs these, and int32 numbers [n, r]")
    rows, d = quantise(x, limbs, None)
    (n, r), (groups, w_limbs, m, width) = numbers.shape, w.q.shape
    need(rows in (n, n * r) and width == d, "rows, numbers and weights", x, numbers, w.q)
    need(w.scale.shape == (groups, m), "weights and scales", w.q, w.scale)
    if w_limbs not in LIMBS:
        raise InputError(f"a weight has one or two limbs, not {w_limbs}")
    if w.bias is not None:
        need(w.bias.shape == (groups, m), "weights and bias", w.q, w.bias)
    return n, r, m, d


def linear_with_hint(
    x: A, w: Matrix, limbs: int, squares: Sequence[int], prologue: Prologue, residual: A | None
) -> tuple[int, int, int]:
    """Check the arguments of :func:`linear`, that no size is 0, and a square for each limb of the weight."""
    n, m, d = linear(x, w, limbs, prologue, residual)
    if min(n, m, d) < 1:
        raise InputError(f"a hint of {n} rows, {m} channels and a contraction of {d}; each is at least 1")
    if len(squares) != len(w.q):
        raise InputError(f"{len(squares)} sums of squares for {len(w.q)} limbs of a weight")
    return n, m, d


def _heads(x: A, heads: int) -> tuple[int, int]:
    """Check rows [n, heads * dh]. Return n and dh."""
    n, width = _rows(x)
    if heads < 1 or width % heads:
        raise InputError(f"a row of {width} does not divide into {heads} heads")
    return n, width // heads


def quantise_heads(x: A, heads: int, limbs: int, latent: int) -> tuple[int, int]:
    """Check rows [n, heads * dh], and latent < dh. Return n and dh."""
    if limbs not in LIMBS:
        raise InputError(f"a head has one or two limbs, not {limbs}")
    n, dh = _heads(x, heads)
    _parts(latent, dh)
    return n, dh


def _parts(latent: int, dh: int) -> None:
    if not (latent == 0 or 0 < latent < dh):
        raise InputError(f"a head of {dh} has no {latent} columns with others behind them")


def largest_square(q: A) -> None:
    """Check int8 limbs of rows [limbs, n, d]."""
    if q.ndim != 3 or q.dtype != _I8 or len(q) not in LIMBS:
        raise InputError(f"expected one or two int8 limbs of rows, not {q.dtype} {list(q.shape)}")


# -- rows ------------------------------------------------------------------------------------------------
def embed(q: A, s: A) -> tuple[int, int]:
    """Check rows [n, d] and a scale [n] for each. Return n and d."""
    n, d = _rows(q)
    need(s.shape == (n,), "rows and scales", q, s)
    return n, d


def rms_norm(x: A, w: A) -> tuple[int, int]:
    """Check rows [n, d] and weights [d]. Return n and d."""
    n, d = _rows(x)
    need(w.shape == (d,), "rows and weights", x, w)
    return n, d


def layer_norm(x: A, w: A, b: A) -> tuple[int, int]:
    """Check rows [n, d], weights and bias [d]. Return n and d."""
    n, d = _rows(x)
    need(w.shape == (d,) and b.shape == (d,), "rows, weights and bias", x, w, b)
    return n, d


def _turned(cos: A, sin: A, n: int, dh: int, start: int = 0) -> None:
    """Check tables [n, r] that turn n rows of heads with dh columns, start + 2 r <= dh."""
    need(len(cos.shape) == 2 and cos.shape == sin.shape, "cosines and sines", cos, sin)
    if len(cos) != n:
        raise InputError(f"tables of {len(cos)} rows do not turn {n} rows")
    if start < 0 or start + 2 * cos.shape[1] > dh:
        where = f" from {start}" if start else ""
        raise InputError(f"a rotation of {2 * cos.shape[1]} elements{where} does not fit a head of {dh}")


def rope(x: A, cos: A, sin: A, heads: int, start: int) -> tuple[int, int]:
    """Check rows [n, heads * dh] and tables [n, r], start + 2 r <= dh. Return n and dh."""
    n, dh = _heads(x, heads)
    _turned(cos, sin, n, dh, start)
    return n, dh


def heads(x: A, cos: A, sin: A, heads: int, kv_heads: int, limbs: int) -> tuple[int, int]:
    """Check rows [n, (heads + 2 kv_heads) * dh] and tables [n, r], 2 r <= dh. Return n and dh."""
    if limbs not in LIMBS:
        raise InputError(f"a head has one or two limbs, not {limbs}")
    n, width = _rows(x)
    count = heads + 2 * kv_heads
    if heads < 1 or kv_heads < 1 or width % count:
        raise InputError(f"a row of {width} does not divide into {heads} + 2 * {kv_heads} heads")
    _turned(cos, sin, n, width // count)
    return n, width // count


class AttentionSizes(NamedTuple):
    """Sizes of attention."""

    n: int
    """Rows of queries."""
    heads: int
    """Heads of queries."""
    kv_heads: int
    width: int
    """Columns of a head of queries and keys."""
    columns: int
    """Columns of a head of values."""
    key_limbs: int
    value_limbs: int


def _limbs(x: A, what: str) -> int:
    """Return the limbs of keys or values, [t, hk, d] or [t, hk, 2, d]."""
    if len(x.shape) == 3:
        return 1
    if len(x.shape) == 4 and x.shape[2] == 2:
        return 2
    raise InputError(
        f"{what} have three dimensions, or four with two limbs, and not the shape {list(x.shape)}"
    )


def attention(
    q: A, kq: A, ks: A, vq: A, vs: A, first: int, window: int, options: AttentionOptions
) -> AttentionSizes:
    """Check the arguments of ``attention`` and return their sizes.

    q is [n, h * dh], kq [t, hk, dh] and vq [t, hk, e] or with limbs as their third of four axes, ks and vs
    [t, hk], sinks [h]; with latent > 0, ks is [t, hk, 2], and there are no vq and vs. h must be a multiple of
    hk, and t >= first + n.
    """
    n, size = _rows(q)
    key_limbs = _limbs(kq, "keys")
    have, kv_heads, dh, latent = len(kq), kq.shape[1], kq.shape[-1], options.latent
    if first < 0 or window < 0 or have < first + n or dh == 0 or kv_heads == 0 or size % (kv_heads * dh):
        raise InputError(f"attention of q {list(q.shape)} from row {first} over keys {list(kq.shape)}")
    if options.limbs not in LIMBS:
        raise InputError(f"a query has one or two limbs, not {options.limbs}")
    _parts(latent, dh)
    if latent:
        if vq is not None or vs is not None:
            raise InputError("values are the first columns of the keys, and were given apart")
        need(ks.shape == (have, kv_heads, 2), "keys and scales", kq, ks)
        columns, value_limbs = latent, key_limbs
    else:
        if vq is None or vs is None:
            raise InputError("attention needs values and their scales")
        columns, value_limbs = vq.shape[-1], _limbs(vq, "values")
        fits = vq.shape[:2] == kq.shape[:2] and columns and ks.shape == (have, kv_heads) == vs.shape
        need(bool(fits), "keys, values and scales", kq, ks, vq, vs)
    heads = size // dh
    if options.sinks is not None:
        need(options.sinks.shape == (heads,), "queries and sinks", q, options.sinks)
    if not 0 <= options.ahead <= MAX_ROWS:
        raise InputError(f"a row sees {options.ahead} positions after its own, outside 0..{MAX_ROWS}")
    if not 0 <= options.softcap < np.inf:
        raise InputError(f"scores are capped at a positive number, not {options.softcap}")
    _contraction(dh)
    return AttentionSizes(n, heads, kv_heads, dh, columns, key_limbs, value_limbs)


def gate(x: A) -> tuple[int, int]:
    """Check rows [n, 2 f]. Return n and f."""
    n, width = _rows(x)
    if width % 2:
        raise InputError(f"a row of {width} has no halves")
    return n, width // 2


def route(x: A, how: Routing, correction: A | None) -> tuple[int, int]:
    """Check logits [n, e], that so many can be chosen, and a correction [e]. Return n and e."""
    n, e = _rows(x)
    groups = how.groups
    fits = 1 <= how.top_groups <= groups <= e and e % groups == 0
    if not fits or not 1 <= how.top_k <= how.top_groups * (e // groups):
        raise InputError(f"{how.top_k} of {e} experts in {how.top_groups} of {groups} groups")
    if how.score not in ("softmax", "sigmoid", "chosen") or how.best not in (1, 2):
        raise InputError(f"no scores {how.score!r} of which {how.best} count")
    if correction is not None:
        need(correction.shape == (e,), "logits and correction", x, correction)
    return n, e


def mix(x: A, shares: A) -> tuple[int, int, int]:
    """Check rows [n, k, d] and shares [n, k] of k >= 1. Return n, k and d."""
    if len(x.shape) != 3 or not x.shape[1]:
        raise InputError(f"what is mixed has three dimensions, and not the shape {list(x.shape)}")
    n, k, d = x.shape
    need(shares.shape == (n, k), "rows and shares", x, shares)
    return n, k, d


def add(x: A, y: A) -> None:
    """Check two arrays of one shape."""
    need(x.shape == y.shape, "summands", x, y)


def sample(logits: A, history: A, first: int, draws: A) -> int:
    """Check logits [n, v], history [t] and draws [n, 2] of rows first..first+n. Return n.

    first must be at least -1, and t >= first + n.
    """
    n = len(logits)
    if logits.ndim != 2 or first < -1 or len(history) < first + n or draws.shape != (n, 2):
        raise InputError(
            f"logits {list(logits.shape)} from row {first}, {len(history)} tokens, draws {list(draws.shape)}"
        )
    if logits.shape[1] == 0:
        raise InputError("there are no logits to choose from")
    return n


# -- arrays ----------------------------------------------------------------------------------------------
def concatenate(parts: Sequence[A]) -> None:
    """Check that there is an array, and that all have one type and row shape."""
    if not parts:
        raise InputError("there are no arrays to put one after the other")
    first = parts[0]
    for x in parts[1:]:
        if x.dtype != first.dtype or x.shape[1:] != first.shape[1:]:
            raise InputError("arrays that are put one after the other have one type and row shape")


def row_bytes(parts: Sequence[A]) -> int:
    """Check that there is an array, and that all have as many rows. Return how many."""
    if not parts:
        raise InputError("there are no rows to put side by side")
    n = len(parts[0])
    if any(len(x) != n for x in parts):
        raise InputError("only arrays of as many rows are put side by side")
    return n


def slice_columns(x: A, a: int, b: int) -> tuple[int, int]:
    """Check rows [n, d] and 0 <= a <= b <= d. Return n and d."""
    n, d = _rows(x)
    if not 0 <= a <= b <= d:
        raise InputError(f"columns {a}..{b} of {d}")
    return n, d
