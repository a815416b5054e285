"""Multilinear extensions and the sumcheck of a product of two (docs/spec/public-proofs.md#sumcheck).

A table of 2^n elements is the values of a multilinear polynomial in n variables at the points of {0, 1}^n;
bit b of an index is the value of variable b. The sum over all points of f g is proved in n rounds, the
highest variable first (C. Lund, L. Fortnow, H. Karloff and N. Nisan, "Algebraic methods for interactive proof
systems", JACM 1992). The message of a round is three elements: the sum at 0, the sum at 1, and the
coefficient of the square. A false sum leads to a true value at the end with a probability of at most 2 / |F|
a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofcompute.arrays import U64
from proofcompute.codes.extension import DEGREE, ONE, add, multiply, subtract, total

__all__ = ["Draw", "Multiply", "equality", "followed", "proved"]

Draw = Callable[[U64], U64]
"""Absorbs the message of a round, [6, 3], and draws the element [6, 1] that follows."""
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
    f: U64, g: U64, draw: Draw, multiply: Multiply = multiply
) -> tuple[list[U64], list[U64], U64, U64]:
    """Prove the sum of f g, two tables [6, 2^n].

    Returns the messages of the rounds, the point (variable 0 first), and the values of f and g there.
    """
    messages, point = [], []
    while f.shape[1] > 1:
        half = f.shape[1] // 2
        (f0, f1), (g0, g1) = (f[:, :half], f[:, half:]), (g[:, :half], g[:, half:])
        df, dg = subtract(f1, f0), subtract(g1, g0)
        sums = [total(multiply(a, b)) for a, b in ((f0, g0), (f1, g1), (df, dg))]
        messages.append(np.concatenate(sums, axis=1))
        x = draw(messages[-1])
        point.append(x)
        f, g = add(f0, multiply(df, x)), add(g0, multiply(dg, x))
    return messages, point[::-1], f, g


def followed(claim: U64, messages: Sequence[U64], draw: Draw) -> tuple[list[U64], U64] | None:
    """Follow the rounds that are to prove ``claim``, [6, 1].

    Returns the point (variable 0 first) and the claim for the product of both values there, or None if a
    message does not add up.
    """
    point: list[U64] = []
    for message in messages:
        if message.shape != (DEGREE, 3):
            return None
        at0, at1, square = message[:, :1], message[:, 1:2], message[:, 2:]
        if not np.array_equal(add(at0, at1), claim):
            return None
        x = draw(message)
        point.append(x)
        linear = subtract(subtract(at1, at0), square)
        claim = add(at0, multiply(x, add(linear, multiply(square, x))))
    return point[::-1], claim
