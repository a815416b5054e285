"""Lay the weight matrices of a model out as rows of circle codes (docs/spec/public-proofs.md#the-layout).

A *plane* is one limb of one matrix: int8 [m, d], for a weight with groups (experts) of each group. Planes are
numbered in the order of the program's weights, then groups, then limbs, high before low; weights that no
product uses (tables of which rows are only looked up) have none.

A plane is cut into columns of at most 2^15, its *pieces*. Planes whose pieces have one width w share a code.
Its messages are 2^b rows of a piece after one another, w 2^b values; what is missing at the end is zero. The
rows of a plane with several pieces alternate: all pieces of the first 2^b rows, then those of the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import I8
from proofcompute.codes.circle import CircleCode
from proofcompute.errors import LimitError
from proofcompute.limits import MAX_CODE_POSITIONS, MAX_CODE_ROWS, MAX_CONTRACTION, MAX_PLANES
from proofcompute.program.program import Program

__all__ = ["Code", "CodedKey", "Layout", "Plane"]

_OPENED = 48
"""Positions that a proof opens, about; with it the rows of a message are chosen."""
_PATH = 12 * 32
"""Bytes of hashes that go with an opened position, about."""
_RUN = 1024
"""Most messages of a run."""
_RUN_WORDS = 1 << 26
"""Most words of a run on one coset, unless one message has more."""
_COEFFICIENTS = 24
"""Bytes of a proof for each value of a message: an element of the extension field."""


@dataclass(frozen=True)
class Plane:
    """One limb of one matrix."""

    number: int
    weight: str
    group: int
    limb: int
    m: int
    """Output channels."""
    d: int
    """Contraction length."""
    code: int
    """The number of the code that holds it."""
    first: int
    """Its first row in the code."""
    rows: int
    """Its rows in the code."""

    def matrix(self, weight: Matrix) -> I8:
        """Return the plane's matrix int8 [m, d], of its weight."""
        limbs = weight.q if weight.q.ndim == 3 else weight.q[self.group]
        found: I8 = limbs[self.limb]
        return found


@dataclass(frozen=True)
class Code:
    """One code: rows of all planes of a width."""

    width: int
    """w, the columns of a piece."""
    side: int
    """b: a message holds 2^b rows of a piece."""
    rows: int
    """The number of messages."""
    circle: CircleCode

    @property
    def length(self) -> int:
        """The values of a message."""
        return self.width << self.side

    @property
    def run(self) -> int:
        """The most messages that are hashed together: few of long ones, whose words take much memory."""
        return max(1, min(_RUN, _RUN_WORDS >> self.circle.bits))


@dataclass(frozen=True)
class Layout:
    """The planes of a program, and the codes that hold them."""

    planes: tuple[Plane, ...]
    codes: tuple[Code, ...]
    rho: int
    """Words of a code agree in at most 2^-rho of their positions."""

    @staticmethod
    def of(program: Program, rho: int) -> Layout:
        """Return the layout of a program. Raises LimitError if it is too large to be published."""
        used = {site.weight for plan in program.plans for site in plan.sites}
        specs = [s for s in program.weights if s.name in used]
        return Layout.laid([(s.name, s.groups, s.limbs, s.m, s.width) for s in specs], rho)

    @staticmethod
    def laid(weights: Sequence[tuple[str, int, int, int, int]], rho: int) -> Layout:
        """Return the layout of weights, of each the name, groups, limbs, m and d. Raises as :meth:`of`."""
        if sum(groups * limbs for _, groups, limbs, *_ in weights) > MAX_PLANES:
            raise LimitError(f"the weights have more than {MAX_PLANES} matrices and limbs")
        widths: dict[int, list[tuple[str, int, int, int, int]]] = {}
        order: list[tuple[str, int, int, int, int]] = []
        for name, groups, limbs, m, d in weights:
            for group in range(groups):
                for limb in range(limbs):
                    plane = (name, group, limb, m, d)
                    order.append(plane)
                    widths.setdefault(min(d, MAX_CONTRACTION), []).append(plane)
        codes, places = [], {}
        for number, (width, planes) in enumerate(sorted(widths.items())):
            side = _side(width, [(m, -(-d // width)) for *_, m, d in planes], rho)
            first = 0
            for plane in planes:
                rows = _rows(plane[3], -(-plane[4] // width), side)
                places[plane[:3]] = (number, first, rows)
                first += rows
            circle = CircleCode.of_rate(width << side, rho)
            if first > MAX_CODE_ROWS or circle.size > MAX_CODE_POSITIONS:
                raise LimitError(f"the code of width {width} has {first} rows and {circle.size} positions")
            codes.append(Code(width, side, first, circle))
        planes_ = (Plane(i, *plane, *places[plane[:3]]) for i, plane in enumerate(order))
        return Layout(tuple(planes_), tuple(codes), rho)

    @cached_property
    def number(self) -> dict[tuple[str, int, int], int]:
        """The numbers of planes by weight, group and limb."""
        return {(p.weight, p.group, p.limb): p.number for p in self.planes}

    def of_code(self, code: int) -> Iterator[Plane]:
        """The planes that a code holds, in the order of its rows."""
        return (p for p in self.planes if p.code == code)

    def of_weight(self, name: str) -> Iterator[Plane]:
        """The planes of a weight, in order."""
        return (p for p in self.planes if p.weight == name)

    def messages(self, plane: Plane, matrix: I8, a: int, b: int) -> I8:
        """Return rows a..b of a plane in its code, of its matrix int8 [m, d]: int8 [b - a, length]."""
        code = self.codes[plane.code]
        pieces, high = -(-plane.d // code.width), 1 << code.side
        if pieces == 1 and plane.m >= b * high:
            return matrix[a * high : b * high].reshape(b - a, -1)
        out = np.zeros((b - a, high, code.width), np.int8)
        for at, row in enumerate(range(a, b)):
            block, piece = divmod(row, pieces)
            part = matrix[block * high : (block + 1) * high, piece * code.width : (piece + 1) * code.width]
            out[at, : part.shape[0], : part.shape[1]] = part
        return out.reshape(b - a, -1)


class CodedKey(Protocol):
    """What is known of codes in public: a public key, or a public factor."""

    @property
    def public_id(self) -> bytes:
        """The digest of all of it, 32 bytes."""
        ...

    @property
    def layout(self) -> Layout:
        """The codes, and the planes that they hold."""
        ...

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The root of each code."""
        ...


def _rows(m: int, pieces: int, side: int) -> int:
    return -(-m // (1 << side)) * pieces


def _side(width: int, shapes: list[tuple[int, int]], rho: int) -> int:
    """Return the b that makes proofs smallest, of those whose codes are not too long."""
    most = max(m for m, _ in shapes)
    best, side = None, 0
    for b in range((most - 1).bit_length() + 1):
        if CircleCode.of_rate(width << b, rho).size > MAX_CODE_POSITIONS:
            break
        rows = sum(_rows(m, pieces, b) for m, pieces in shapes)
        size = _COEFFICIENTS * (width << b) + _OPENED * (4 * rows + _PATH)
        if best is None or size < best:
            best, side = size, b
    return side
