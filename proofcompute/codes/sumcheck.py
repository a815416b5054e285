"""Multilinear extensions and the sumcheck of a product of two (docs/spec/public-proofs.md#sumcheck).

A table of 2^n elements is the values of a multilinear polynomial in n variables at the points of {0, 1}^n;
bit b of an index is the value of variable b. The sum over all points of f g is proved in n rounds, the
highest variable first (C. Lund, L. Fortnow, H. Karloff and N. Nisan, "Algebraic methods for interactive proof
systems", JACM 1992). The message of a round is three elements: the sum at 0, the sum at 1, and the
coefficient of the square. A false sum leads to a true value at the end with a probability of at most 2 / |F|
a round.

Several sums with the same f are proved beside one another: the element after a round is drawn from the
messages of all, so they end at one point. Each stands by itself, whether anybody checks the others or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofcompute.arrays import U64
from proofcompute.codes.extension import DEGREE, ONE, add, multiply, subtract, total

__all__ = ["Draw", "Multiply", "equality", "followed", "proved"]

Draw = Callable[[U64], U64]
"""Absorbs the messages of a round, [sums, 6, 3], and draws the element [6, 1] that follows."""
Multiply = Callable[[U64, U64], U64]
"""Multiplies elements of the extension field; the definition, or a backend's function."""


def equality(point: Sequence[U64], multiply: Multiply = multiply) -> U64:
    """Return eq(point, i) for all indices i of len(point) bits, [6, 2^n].

    eq is 1 where both are the same bits and 0 at all other bits, and multilinear in between: the value of a
    table's extension at ``point`` is the sum of eq(point, i) times the table.
    """
    table = ONE
    for x in point:
        high = multiply(table, x)
        table = np.concatenate([subtract(table, high), high], axis=1)
    return table


def proved(
    f: U64, gs: Sequence[U64], draw: Draw, multiply: Multiply = multiply
) -> tuple[list[U64], list[U64], U64, list[U64]]:
    """Prove the sum of f g for each g, tables [6, 2^n], with challenges that all of them share.

    Returns the messages of the rounds, each [len(gs), 6, 3], the point (variable 0 first), and the values of
    f and of each g there.
    """
    messages, point, gs = [], [], list(gs)
    while f.shape[1] > 1:
        half = f.shape[1] // 2
        f0, f1 = f[:, :half], f[:, half:]
        df = subtract(f1, f0)
        made = []
        for g in gs:
            g0, g1 = g[:, :half], g[:, half:]
            pairs = (f0, g0), (f1, g1), (df, subtract(g1, g0))
            made.append(np.concatenate([total(multiply(a, b)) for a, b in pairs], axis=1))
        messages.append(np.stack(made))
        x = draw(messages[-1])
        point.append(x)
        f = add(f0, multiply(df, x))
        for i, g in enumerate(gs):
            gs[i] = add(g[:, :half], multiply(subtract(g[:, half:], g[:, :half]), x))
    return messages, point[::-1], f, gs


def followed(claim: U64, messages: Sequence[U64], challenges: Sequence[U64]) -> U64 | None:
    """Follow the rounds that are to prove ``claim``, [6, 1], with the element drawn after each.

    Returns the claim for the product of both values at the point, or None if a message, [6, 3], does not add
    up.
    """
    for message, x in zip(messages, challenges, strict=True):
        if message.shape != (DEGREE, 3):
            return None
        at0, at1, square = message[:, :1], message[:, 1:2], message[:, 2:]
        if not np.array_equal(add(at0, at1), claim):
            return None
        linear = subtract(subtract(at1, at0), square)
        claim = add(at0, multiply(x, add(linear, multiply(square, x))))
    return claim
