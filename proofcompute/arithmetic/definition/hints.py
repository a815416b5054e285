"""Make the hint of a product; unpack its integers, check them and turn them into floats
(docs/spec/freivalds.md#checking-a-hint).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.kernels import Kernels, Matrix, Prologue
from proofcompute.arrays import F32, I8, I32, U32
from proofcompute.errors import InputError
from proofcompute.freivalds.field import P31, fold31
from proofcompute.freivalds.hint import CheckedHint, Hint, HintSet, MadeHint, Packed, SummedHint, WeighedHint
from proofcompute.freivalds.product import Site, product_sets
from proofcompute.freivalds.sets import hint_sets, pack_set

__all__ = ["check_hint", "check_sets", "check_weighed", "linear_with_hint", "sum_hint"]


def linear_with_hint(
    k: Kernels,
    x: F32,
    w: Matrix,
    limbs: int,
    squares: Sequence[int],
    prologue: Prologue,
    residual: F32 | None,
    wanted: bool,
) -> MadeHint:
    """Make a product and its hint step by step with the functions of ``k``.

    Returns and raises as :meth:`proofcompute.arithmetic.kernels.Arithmetic.linear_with_hint`.
    """
    n, m, d = contracts.linear_with_hint(x, w, limbs, squares, prologue, residual)
    q, sx = k.quantise(x, limbs, prologue)
    sets = product_sets(d, limbs, len(w.q))
    products = [
        k.product(k.slice_columns(q[i], a, b), k.slice_columns(w.q[j], a, b)) for a, b, i, j, _ in sets
    ]
    acc = k.concatenate(products).reshape(len(sets), n, m)
    index = {(a, i, j): number for number, (a, _, i, j, _) in enumerate(sets)}
    values = k.host(acc)
    packed = [
        pack_set(_together([values[index[c.start, i, c.w_limb]] for i in c.limbs]), k)
        for c in hint_sets(Site("", m, d, limbs, len(w.q)), q, squares, k)
    ]
    if not wanted:
        return MadeHint(tuple(packed), None)
    y = k.rescale(acc, [shift for *_, shift in sets], sx, w.scale, w.bias)
    return MadeHint(tuple(packed), y if residual is None else k.add(residual, y))


def _together(limbs: Sequence[I32]) -> I32:
    """Combine the accumulators of limbs, high before low; a set holds both limbs only if the sum fits."""
    value = limbs[0]
    for low in limbs[1:]:
        value = (value << np.int32(8)) + low  # modulo 2^32, where only the high part could overflow
    return value


def check_weighed(hint: WeighedHint) -> tuple[int, int]:
    """Return the numbers of rows n and channels m of a hint that is summed up.

    Raises InputError unless all shapes fit, nothing is empty, and a single set has no shift.
    """
    packed, shifts, r, sx, sw, bias, residual = hint
    n, m = sx.size, sw.size
    good = r.ndim == 3 and r.dtype == np.uint32 and r.shape[::2] == (len(packed), n)
    good = good and min(len(packed), n, m) > 0 and len(shifts) == len(packed)
    good = good and (len(shifts) > 1 or shifts[0] == 0)
    good = good and sx.shape == (n,) and sw.shape == (m,) and (bias is None or bias.shape == (m,))
    if good and (residual is None or residual.shape == (n, m)):
        return n, m
    raise InputError(
        f"{len(packed)} lists of integers for random rows {r.dtype} {list(r.shape)}, "
        f"scales {list(sx.shape)} and {list(sw.shape)}"
    )


def sum_hint(k: Kernels, unpack: Callable[[Packed, int, int], I32], hint: WeighedHint) -> SummedHint:
    """Sum up a hint step by step.

    Returns and raises as :meth:`proofcompute.freivalds.checks.Checks.sum_hint`.
    """
    n, m = check_weighed(hint)
    packed, shifts, r, sx, sw, bias, residual = hint
    values = np.stack([unpack(data, bits, n * m).reshape(n, m) for bits, data in packed])
    extremes = [(int(x.min()), int(x.max())) for x in values]
    u = np.stack([fold31(x, rows) for x, rows in zip(values, r, strict=True)])
    y = k.rescale(values, shifts, sx, sw, bias)
    return SummedHint(extremes, u, y if residual is None else k.add(residual, y))


def check_sets(hint: Hint) -> tuple[int, int]:
    """Return the numbers of rows n and columns m of the sets.

    Raises InputError unless all shapes fit, nothing is empty, and a single set has no shift.
    """
    q, sets, packed, s, v, sx, sw, bias, residual = hint
    (limbs, n, d), k, m = q.shape, len(s), sw.size
    good = sx.shape == (n,) and sw.shape == (m,) and s.shape == (k, m) and v.shape == (len(v), k, d)
    good = good and (bias is None or bias.shape == (m,)) and (residual is None or residual.shape == (n, m))
    good = good and min(n, m, k) > 0 and 0 < len(packed) == len(sets)
    good = good and (len(sets) > 1 or sets[0].shift == 0)  # what is not added up is not shifted
    for start, stop, which, w_limb, _, _ in sets:
        good = good and 0 <= start < stop <= d and 0 <= w_limb < len(v)
        good = good and (which == (0, 1) or len(which) == 1) and 0 <= which[0] <= which[-1] < limbs
    if good:
        return n, m
    raise InputError(
        f"{len(packed)} lists of integers for {len(sets)} sets of rows {list(q.shape)}, "
        f"scales {list(sx.shape)} and {list(sw.shape)}, columns {list(s.shape)} and {list(v.shape)}"
    )


def _expected(k: Kernels, q: I8, sets: Sequence[HintSet], v: U32) -> U32:
    """Return the projection X V that each set has if it is right: [sets, n, k]; q and v as in a hint."""
    n, d = q.shape[1:]
    found = []
    for a, b, limbs, w_limb, *_ in sets:
        columns = v[w_limb]
        rows = q if len(limbs) == len(q) else q[limbs[0] : limbs[-1] + 1]
        if b - a < d:
            columns, rows = np.ascontiguousarray(columns[:, a:b]), np.ascontiguousarray(rows[:, :, a:b])
        # One call projects all limbs, so that the columns are read once.
        whole = k.host(k.project(rows.reshape(len(limbs) * n, b - a), columns))
        if len(limbs) == 2:
            whole = ((whole[:n].astype(np.int64) * 256 + whole[n:]) % P31).astype(np.uint32)
        found.append(whole)
    return np.stack(found)


def check_hint(k: Kernels, unpack: Callable[[Packed, int, int], I32], hint: Hint) -> CheckedHint:
    """Check a hint step by step with the functions of ``k``.

    Returns and raises as :meth:`proofcompute.freivalds.checks.Checks.check_hint`.
    """
    n, m = check_sets(hint)
    q, sets, packed, s, v, sx, sw, bias, residual = hint
    values = np.stack([unpack(data, bits, n * m).reshape(n, m) for bits, data in packed])
    extremes = [(int(x.min()), int(x.max())) for x in values]
    projections = np.stack([k.host(k.project(x, s)) for x in values])
    if any(c.stop - c.start < q.shape[2] for c in sets):
        q = k.host(q)
    right = _expected(k, q, sets, v)
    holds = bool(np.array_equal(projections, right))
    y = k.rescale(values, [c.shift for c in sets], sx, sw, bias)
    return CheckedHint(extremes, holds, y if residual is None else k.add(residual, y))
