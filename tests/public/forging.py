"""Answers with false hints, for provers who know too much."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

import synthetic
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arrays import U32
from proofcompute.freivalds.primes import P31
from proofcompute.freivalds.sets import pack_set
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Part
from proofcompute.protocol.needs import needs
from proofcompute.protocol.shapes import part_shape
from proofcompute.public.proving import Answered, coded_challenge
from proofcompute.verifier import check_receipt
from public.world import KERNELS, answered, model

EVERY = 10_000
"""More cells than there are, so that each is of one row."""


Off = int | Sequence[int]


def altered(
    kind: str, changes: dict[tuple[int, int, int], Off], cells: int = EVERY, number: int = 0
) -> Answered:
    """An answer with wrong accumulators: what is added, by cell, product and set, to its last column."""
    one = answered(kind, number, cells)
    claim = check_receipt(model(kind), one.request, one.receipt, None)
    challenge = coded_challenge(claim, cells)
    frames = with_hints(kind, claim, challenge, synthetic.frames(one.opening.read()), changes)
    opening = synthetic.closed(frames[:-1], claim.receipt, challenge)
    return Answered(one.request, one.receipt, io.BytesIO(opening), cells)


def with_hints(
    kind: str,
    claim: Claim,
    challenge: Challenge,
    frames: Sequence[bytes],
    changes: dict[tuple[int, int, int], Off],
) -> list[bytes]:
    """The frames of an opening with wrong accumulators; whatever follows the cells stays as it is."""
    program, frames = model(kind).program, list(frames)
    assert len(frames) >= len(challenge.cells) + 2
    for (at, product, place), off in changes.items():
        need = needs(claim.statement, challenge.cells[at])
        n = challenge.cells[at].b - challenge.cells[at].a
        shape = part_shape(program, need, claim.statement.rows, n, tables=True, hints=True)
        part = Part.decode(frames[at + 1], shape)
        m, hint = need.sites[product].m, [bytes(data) for data in part.hints[product]]
        values = unpack(hint[place][1:], hint[place][0], n * m).reshape(n, m).copy()
        values[:, -1] += off
        hint[place] = pack_set(values, KERNELS)
        hints = (*part.hints[:product], tuple(hint), *part.hints[product + 1 :])
        frames[at + 1] = Part(part.groups, part.tables, hints).encode()
    return frames


def head_cells(kind: str) -> list[int]:
    """The positions of the last segment's cells, whose accumulators no other cell reads."""
    one = answered(kind, cells=EVERY)
    claim = check_receipt(model(kind), one.request, one.receipt, None)
    cells, last = coded_challenge(claim, EVERY).cells, len(model(kind).program.plans) - 1
    return [i for i, cell in enumerate(cells) if cell.segment == last]


def _reduced(basis: Any) -> Any:
    """An LLL-reduced basis [n, n] of the lattice that integer rows span (Lenstra, Lenstra, Lovasz 1982)."""
    b, k = [list(map(int, row)) for row in basis], 1
    n = len(b)

    def orthogonal() -> tuple[Any, Any]:
        star, mu = np.array(b, float), np.eye(n)
        for i in range(n):
            for j in range(i):
                mu[i, j] = np.dot(np.array(b[i], float), star[j]) / np.dot(star[j], star[j])
                star[i] -= mu[i, j] * star[j]
        return (star * star).sum(1), mu

    norms, mu = orthogonal()
    while k < n:
        for j in range(k - 1, -1, -1):
            q = round(mu[k, j])
            if q:
                b[k] = [x - q * y for x, y in zip(b[k], b[j], strict=True)]
                mu[k, : j + 1] -= q * mu[j, : j + 1]
        if norms[k] >= (0.99 - mu[k, k - 1] ** 2) * norms[k - 1]:
            k += 1
        else:
            b[k], b[k - 1] = b[k - 1], b[k]
            norms, mu = orthogonal()
            k = max(k - 1, 1)
    return b


def unseen(rows: U32) -> list[int]:
    """Short integers [n], not all zero, that random rows [6, n] combine to zero."""
    r, n = rows.astype(object), rows.shape[1]
    left = np.concatenate([r[:, :6], r[:, 6:]], axis=1)
    for c in range(6):  # make the first six columns the identity
        found = next(i for i in range(c, 6) if left[i, c])
        left[[c, found]] = left[[found, c]]
        left[c] = left[c] * pow(int(left[c, c]), P31 - 2, P31) % P31
        for i in range(6):
            if i != c:
                left[i] = (left[i] - left[i, c] * left[c]) % P31
    basis = np.zeros((n, n), object)
    basis[:6, :6] = P31 * np.eye(6, dtype=int)
    basis[6:, 6:] = np.eye(n - 6, dtype=int)
    basis[6:, :6] = -left[:, 6:].T % P31
    short: list[int] = min(_reduced(basis), key=lambda v: sum(x * x for x in v))
    assert not (r @ np.array(short, object) % P31).any()
    return short
