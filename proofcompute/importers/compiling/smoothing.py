r"""Chooses column scales that reduce the error of a quantised product.

For s > 0, W x = (W diag(s)) (diag(1/s) x). If the division can be folded into what makes x (a norm's weights,
the rows of another matrix), s is free, and it decides how the error is distributed: a row of W is quantised
with a step of max_j |w_j s_j| / 127, so a column with large activations needs a large s for its weights to be
rounded finely; if the activations have one limb too, a large s also keeps that column from determining their
step (Xiao et al. 2023, arXiv:2211.10438; Lin et al. 2024, arXiv:2306.00978). If rounding errors are taken as
independent and uniform, the squared error of W x is proportional to

    f(s) = sum_r max_j (|w_rj| s_j)^2 * sum_j h_j / s_j^2
         + mean_t max_j (|x_tj| / s_j)^2 * sum_rj (w_rj s_j)^2        (one limb only)

where h_j is the mean square of column j of x. :func:`column_scales` descends on log s by subgradients with
the step sizes of Adam (Kingma, Ba 2015, arXiv:1412.6980) for a fixed number of steps, and returns the best s
that it found.

Two people must get the same model id, so everything here is canonical: binary64, one IEEE rounding per
operation, and sums by halving, except those of ``numpy.bincount``, which adds in the order of the rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from proofcompute.arrays import F32

__all__ = ["SAMPLE", "column_scales", "total"]

F64 = npt.NDArray[np.float64]

STEPS: Final = 40
RATE: Final = 0.1
"""The largest change of log s in the first step; it decreases linearly."""
SAMPLE: Final = 1024
"""The most rows of a matrix, evenly spread, by which its scales are chosen."""


def total(x: Any) -> Any:
    """Return the sum over the first axis by halving, [n, ...] to [...]; 0 for n = 0."""
    level = np.asarray(x, np.float64)
    while len(level) > 1:
        half = (len(level) + 1) // 2
        rest = level[half:]
        level = np.concatenate([level[: len(rest)] + rest, level[len(rest) : half]])
    return level[0] if len(level) else np.zeros(level.shape[1:])


def column_scales(w: F32, energy: F64, rows: F32 | None) -> F32:
    """Return scales s [d] for a matrix: all ones if the descent finds nothing better or overflows.

    Args:
        w: the matrix, or a sample of its rows, [m, d].
        energy: h, the mean square of each column of the activations, [d].
        rows: a sample of activations [t, d] if they will have one limb, else None.
    """
    weights = np.abs(w).astype(np.float64)
    squares = total(weights * weights)
    samples = None if rows is None else np.abs(rows).astype(np.float64)
    s = best = np.ones(w.shape[1])
    least = np.inf
    mean, square = np.zeros_like(s), np.zeros_like(s)
    left_mean = left_square = 1.0
    with np.errstate(all="ignore"):
        for step in range(STEPS):
            error, slope = _error(weights, squares, energy, samples, s)
            if not (np.isfinite(error) and np.isfinite(slope).all()) or error == 0:
                break
            if error < least:
                least, best = error, s
            slope = slope / error
            mean = 0.875 * mean + 0.125 * slope
            square = 0.984375 * square + 0.015625 * (slope * slope)
            left_mean, left_square = left_mean * 0.875, left_square * 0.984375
            direction = (mean / (1 - left_mean)) / (np.sqrt(square / (1 - left_square)) + 1e-8)
            s = s * (1 - RATE * (1 - step / STEPS) * direction)
    return best.astype(np.float32)


def _error(weights: F64, squares: F64, energy: F64, samples: F64 | None, s: F64) -> tuple[float, F64]:
    """Return f(s) and its derivative with respect to log s, [d]."""
    d = len(s)
    top, at = _largest(weights * s)
    noise = energy / (s * s)
    steps, heard = total(top), total(noise)
    error = steps * heard
    slope = np.bincount(at, 2 * (top * heard), d) - 2 * (steps * noise)
    if samples is not None:
        top, at = _largest(samples / s)
        spread = squares * (s * s)
        steps, heard = total(top) / len(samples), total(spread)
        error = error + steps * heard
        slope = slope + (2 * (spread * steps) - np.bincount(at, 2 * (top * (heard / len(samples))), d))
    return float(error), slope


def _largest(x: F64) -> tuple[F64, npt.NDArray[np.intp]]:
    """Return the square of the largest element of each row of x, and its column."""
    at = x.argmax(axis=1)
    top = x[np.arange(len(x)), at]
    return top * top, at
